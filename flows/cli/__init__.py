"""The command line `autocast`: one file a command, named as the command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from autocast_core.process.garbage_collector import keep_for_good, skip_final_collection
from flows.cli.terminal.interrupts import heed_interrupts

_HANDED_OVER = ("run", "tune", "fleet", "demo")
"""Commands that run a flow."""
_TYPER_INTERRUPTED = 130
"""The exit code that typer returns for an interrupt; commands themselves return nothing."""


def main() -> None:
    """The console script: runs the command, where there is a fork server in a fork of it."""
    with _interrupts_told():
        if sys.argv[1:2] and sys.argv[1] in _HANDED_OVER:
            from flows.local.forks.handing_over import hand_over

            status = hand_over()
            if status is not None:
                _end_as(status)
        run_command()


def run_command() -> None:
    """Runs the command in this process and maps errors to exit codes 2, 3 and 1."""
    with _interrupts_told():
        _run_command()


def _run_command() -> None:
    heed_interrupts()
    skip_final_collection()
    with keep_for_good():
        from flows.cli import (
            bridge,
            compare,
            demo,
            fleet,
            mcp,
            plan,
            results,
            run,
            schema,
            tune,
        )
        from flows.cli.app import new_app
        from flows.cli.model_files import diagnose, evaluate, lint, validate
        from flows.cli.registered_versions import export, promote, review, sign, verify
        from flows.cli.this_machine import doctor, down, init, status, stop, up

    app = new_app()
    for command in (
        demo,
        run,
        review,
        compare,
        promote,
        sign,
        verify,
        export,
        schema,
        plan,
        validate,
        diagnose,
        evaluate,
        lint,
        tune,
        fleet,
        bridge,
        results,
        mcp,
        doctor,
        init,
        up,
        status,
        down,
        stop,
    ):
        command.add_to(app)
    try:
        returned = app(standalone_mode=False, prog_name="autocast")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _misuse(error)
    if returned == _TYPER_INTERRUPTED:
        raise KeyboardInterrupt


@contextmanager
def _interrupts_told() -> Iterator[None]:
    """Ends the process as interrupted where that happens outside `finish`, which tells those within a command."""
    try:
        yield
    except KeyboardInterrupt:
        from flows.cli.terminal.output import end_interrupted

        end_interrupted()


def _end_as(status: int) -> NoReturn:
    """Ends this process with a status as of subprocess: negative where a signal is to end it."""
    if status < 0:
        if status != -signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    raise SystemExit(status)


def _misuse(error: Any) -> NoReturn:
    """One line for a usage error of the command-line parser, and the JSON object where that was asked for; ends the
    process.

    There is no line where the error has no message: for a group of commands without a command, whose help was printed.
    """
    from autocast_core.text import one_line
    from flows.cli.terminal.output import MISUSE, print_json

    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "autocast"
    text = " ".join(error.format_message().split()).rstrip(".")
    if text:
        print(f"error: {one_line(text)}; see `{path} --help`", file=sys.stderr)
    if "--json" in sys.argv:
        print_json({"ok": False, "error": text})
    raise SystemExit(MISUSE)
