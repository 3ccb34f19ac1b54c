"""Child processes that run a module of this package: how to start one, and how to say how it ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds this package, or the checkout of it."""
_TAIL_BYTES = 2000


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs `module` with this Python; ``-P`` keeps the current folder off the import path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def with_package_path(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with a PYTHONPATH on which the child finds the packages of this process."""
    path = os.pathsep.join(filter(None, (str(_ROOT), environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path}


def was_killed(returncode: int) -> bool:
    """Whether SIGKILL ended the process: on a machine that runs other work, almost always the out-of-memory killer."""
    return returncode == -signal.SIGKILL


def ending(returncode: int) -> str:
    """How a process ended, to follow its name: ``was killed, ...``, ``crashed (SIGSEGV)``, ``ended with code 1``."""
    if was_killed(returncode):
        return "was killed, probably for lack of memory"
    if returncode < 0:
        return f"crashed ({signal.Signals(-returncode).name})"
    return f"ended with code {returncode}"


def last_line(stderr: Path, limit: int = 200) -> str:
    """The last line that a process wrote to the file `stderr`: printable characters only, at most `limit` of them.

    Empty where it wrote nothing or the file cannot be read.
    """
    try:
        with open(stderr, "rb") as file:
            file.seek(max(0, stderr.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(letter for letter in (lines[-1] if lines else "") if letter.isprintable())[:limit]
