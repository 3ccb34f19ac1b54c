"""`autocast up`: starts the servers of one machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json
from flows.local_stack.stack_settings import StackStorage

KEYS = ("folder", "servers", "environment")
HELP = """Start Prefect, MLflow, the bridge from MLflow to Prefect, and a worker on this machine.

Examples:

  autocast up

  autocast up --storage servers /srv/autocast

Prints their addresses. The first start takes a minute or two; a repeated one starts what does not run. Flows are
deployed and the webhook is registered. Everything listens on this machine alone. Prefect asks for the password in
FOLDER/env, PREFECT_API_AUTH_STRING; MLflow asks for none, and with --storage servers neither does.
`autocast init --local` makes all your commands use these servers.
"""
Folder = Annotated[
    Path | None,
    typer.Argument(help="Where the servers keep their data and logs. Default: ~/.local/share/autocast/stack."),
]


def add_to(app: typer.Typer) -> None:
    app.command("up", help=HELP)(up)


def up(
    folder: Folder = None,
    storage: Annotated[
        StackStorage | None,
        typer.Option(
            help="files: SQLite and a folder, nothing to install (default). servers: PostgreSQL and Ceph's S3 gateway,"
            " which infra/local/packages installs."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the servers of this machine."""
    where = chosen(folder)
    result = finish(lambda: _started(where, storage), KEYS, as_json)
    if not as_json:
        show(result)
        say(who_may_enter(where))
        say(f"for all your commands: autocast init --local; for this shell: set -a; . {result['environment']}; set +a")


def who_may_enter(folder: Path) -> str:
    """A note on the servers of the folder that ask for no password."""
    from flows.local_stack.stack_settings import settings_of

    open_ones = "MLflow asks" if settings_of(folder).prefect_auth else "Prefect and MLflow ask"
    return (
        f"note: {open_ones} for no password: every account of this machine can read and change what is kept there;"
        " on a shared machine, use servers that ask for one"
    )


def chosen(folder: Path | None) -> Path:
    """The folder of the servers, absolute."""
    import os

    from flows.local_stack.default_folder import default_folder

    return (folder or default_folder(os.environ)).absolute()


def _started(folder: Path, storage: StackStorage | None) -> Mapping[str, Any]:
    from flows.local_stack.stack import up as start_servers
    from flows.local_stack.stack_settings import known_settings

    known = known_settings(folder)
    start_servers(
        folder,
        storage=storage or (known.storage if known else StackStorage.FILES),
        tell=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return found(folder)


def found(folder: Path) -> dict[str, Any]:
    """The servers of the folder as they are now, by the keys of the commands' JSON."""
    from flows.local_stack.stack import status
    from flows.local_stack.stack_settings import environment_file

    servers = [each.to_json() for each in status(folder)]
    return {"folder": str(folder), "servers": servers, "environment": str(environment_file(folder))}


def show(result: Mapping[str, Any]) -> None:
    """One line a server: name, state, address; what has none shows its log."""
    for each in result["servers"]:
        say(f"{each['name']:<9} {each['state']:<14} {each['address'] or 'log: ' + each['log']}")
