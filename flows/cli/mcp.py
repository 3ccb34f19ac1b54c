"""`autocast mcp`: the commands as tools of an agent, by the Model Context Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish

HELP = """Serve convert, lint, diagnose, tune and review to an agent, by the Model Context Protocol.

Examples:

  autocast mcp --root models/

  autocast mcp --root models/ --location s3://models/onnx/

In a client's settings: {"command": "autocast", "args": ["mcp", "--root", "/home/me/models"]}.

The protocol runs on standard input and output. An agent reads and writes nothing outside of what is named here, and
promotes nothing. Needs the extra mcp.
"""


def add_to(app: typer.Typer) -> None:
    app.command("mcp", help=HELP)(mcp)


def mcp(
    root: Annotated[
        list[Path] | None,
        typer.Option(help="A folder that the agent may use; may be repeated. Default: the current folder."),
    ] = None,
    location: Annotated[
        list[str] | None, typer.Option(help="An s3:// prefix that the agent may use; may be repeated.")
    ] = None,
) -> None:
    """Serve the commands to an agent."""
    finish(lambda: _served(tuple(root or (Path(),)), tuple(location or ())), (), False)


def _served(roots: tuple[Path, ...], prefixes: tuple[str, ...]) -> dict[str, Any]:
    from flows.agent_server.allowed_places import allowed_places
    from flows.agent_server.server import make_server

    make_server(allowed_places(roots, prefixes)).run("stdio")
    return {}
