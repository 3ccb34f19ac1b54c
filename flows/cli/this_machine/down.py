"""`autocast down`: stops what `autocast up` started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json
from flows.cli.this_machine.up import Folder, chosen

KEYS = ("folder", "stopped")
HELP = """Stop the servers that `autocast up` started.

Their data stay, and the next `autocast up` has the same addresses.

Examples:

  autocast down

  autocast down /srv/autocast
"""


def add_to(app: typer.Typer) -> None:
    app.command("down", help=HELP)(down)


def down(
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Stop the servers of this machine."""
    where = chosen(folder)
    result = finish(lambda: _stopped(where), KEYS, as_json)
    if not as_json:
        say(f"{where}: {', '.join(result['stopped']) + ' stopped' if result['stopped'] else 'no server was running'}")


def _stopped(folder: Path) -> dict[str, Any]:
    from flows.local_stack.stack import down as stop_servers

    return {"folder": str(folder), "stopped": list(stop_servers(folder))}
