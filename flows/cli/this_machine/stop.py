"""`autocast stop`: ends the Prefect server that commands keep for one another."""

from __future__ import annotations

from typing import Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json

HELP = """End the Prefect server that commands without PREFECT_API_URL keep for one another.

It ends by itself once no command has used it for AUTOCAST_SERVER_IDLE_SECONDS (300).
"""


def add_to(app: typer.Typer) -> None:
    app.command("stop", help=HELP)(stop)


def stop(as_json: Json = False) -> None:
    """End the embedded server of this home folder."""
    result = finish(_stopped, ("home", "stopped"), as_json)
    if not as_json:
        count = result["stopped"]
        say(f"{result['home']}: {f'{count} stopped' if count else 'no server was running'}")


def _stopped() -> dict[str, Any]:
    from flows.local.embedded_server import stop_servers
    from flows.local.home import home
    from flows.local.own_files import check_home

    where = home()
    check_home(where)
    return {"home": str(where.root), "stopped": stop_servers(where.server)}
