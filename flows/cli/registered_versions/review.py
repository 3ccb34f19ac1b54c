"""`autocast review`: a registered conversion's summary in the terminal, as its report has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json, RegisteredVersion

KEYS = ("model", "aliases", "run_id", "source", "source_sha256", "output_sha256", "precision", "gate", "metrics")
HELP = """Show what a reviewer needs of a registered conversion: verdict, gates, what changed, why, and what it costs.

Example:

  autocast review models:/resnet-fp16/3
"""


def add_to(app: typer.Typer) -> None:
    app.command("review", help=HELP)(review)


def review(model: RegisteredVersion, as_json: Json = False) -> None:
    """Review a registered conversion."""
    result = finish(lambda: reviewed(model), KEYS, as_json)
    if not as_json:
        show(result)


def reviewed(model: str) -> Mapping[str, Any]:
    """The version's record and its run's summary."""
    from flows.local.session import reading_session
    from tasks.storage.model_registry import resolve_tracking_uri

    with reading_session():
        from flows.review.conversion_record import read_conversion
        from tasks.tracking.reading import read_artifact

        version, run = read_conversion(model)
        return {
            "model": str(version),
            "aliases": list(version.aliases),
            "run_id": run.run_id,
            **{key: version.tags.get(f"autocast.{key}") for key in KEYS[3:8]},
            "metrics": dict(run.metrics),
            "summary": read_artifact(resolve_tracking_uri(), run, "summary.md"),
        }


_WIDTH_IN_A_FILE = 200
"""Columns of a pipe or file, for which rich takes 80: cells of wide tables would be cut."""


def show(result: Mapping[str, Any]) -> None:
    """The summary, with what the registry adds."""
    from rich.console import Console
    from rich.markdown import Markdown

    from autocast_core.text import visible

    # Whoever can write to the store could hide terminal commands in it.
    text = "\n".join(visible(line, 10_000) for line in result["summary"].splitlines())
    console = Console()
    if not console.is_terminal:
        console.width = _WIDTH_IN_A_FILE
    console.print(Markdown(text))
    aliases = ", ".join(map(visible, result["aliases"])) or "none"
    console.print(f"{result['model']}, aliases: {aliases}, run {result['run_id']}", markup=False, highlight=False)
