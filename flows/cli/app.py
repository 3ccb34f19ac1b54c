"""The command `autocast` and its subcommands, one file each."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="autocast",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Turns FP32 ONNX models into mixed-precision ones for strongly typed TensorRT, and shows why.",
    epilog="Start with [bold]autocast demo[/bold]. "
    "Exit codes: 0 done, 2 bad input or usage, 3 a gate failed, 1 anything else.",
)
