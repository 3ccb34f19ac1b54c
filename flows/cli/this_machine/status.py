"""`autocast status`: how the servers of this machine are, and where."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from flows.cli.terminal.output import FailedCheckError, finish
from flows.cli.terminal.shared_options import Json
from flows.cli.this_machine.up import Folder, chosen, found, show

KEYS = ("folder", "servers", "environment")
HELP = """Show the servers that `autocast up` started: which of them answer, their addresses and logs.

Examples:

  autocast status

  autocast status --json

Exit code 3 where one of them does not answer, or none was started.
"""


def add_to(app: typer.Typer) -> None:
    app.command("status", help=HELP)(status)


def status(
    folder: Folder = None,
    as_json: Json = False,
) -> None:
    """Show the servers of this machine."""
    where = chosen(folder)
    finish(lambda: _looked_at(where, as_json), KEYS, as_json)


def _looked_at(folder: Path, as_json: bool) -> Mapping[str, Any]:
    result = found(folder)
    if not as_json:
        show(result)
    if not result["servers"]:
        raise FailedCheckError(f"{folder}: no server was started here: run autocast up", result)
    if lacking := [each["name"] for each in result["servers"] if each["state"] != "ready"]:
        raise FailedCheckError(f"{', '.join(lacking)}: not ready: run autocast up, or look at the log", result)
    return result
