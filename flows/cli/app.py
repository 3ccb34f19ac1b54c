"""The command `autocast` and its subcommands, one file each."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def _tell_version(wanted: bool) -> None:
    if wanted:
        from autocast_core.version import VERSION

        typer.echo(f"autocast {VERSION}")
        raise typer.Exit


def new_app() -> typer.Typer:
    """The application without commands."""
    app = typer.Typer(
        name="autocast",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        help="Turns FP32 ONNX models into mixed-precision ones for strongly typed TensorRT, and shows why.",
        epilog="Start with [bold]autocast demo[/bold]. "
        "Exit codes: 0 done, 2 bad input or usage, 3 a gate or check failed, 1 anything else.",
    )
    app.callback()(autocast)
    return app


def autocast(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """What holds for all commands: the settings file. The help is the application's."""
    from autocast_core.errors import AutocastError
    from flows.cli.terminal.output import end_failed
    from flows.local.user_settings import apply_settings_file

    try:
        apply_settings_file(os.environ)
    except AutocastError as error:
        # The doctor says it beside all else that it finds.
        if context.invoked_subcommand != "doctor":
            end_failed(error)
