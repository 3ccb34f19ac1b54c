"""Runs a command of `autocast` for an agent, in a process of its own, and shortens what it answers.

The command is the same that a person types: with its checks, its isolation and its exit codes. The server's own
standard output belongs to the protocol.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import AutocastError, InputError
from autocast_core.process.child import with_package_path

LONGEST_LIST = 100
"""Entries of a list that an agent is given: a model may have 20,000 nodes."""
_NOT_HELD = 3
_BAD_INPUT = 2
_PROGRAM = "from flows.cli import main; main()"


@dataclass(frozen=True)
class CommandAnswer:
    """How a command ended: its exit code and its JSON object."""

    exit_code: int
    values: Mapping[str, Any]


async def answered(folder: Path, command: str, *words: str) -> dict[str, Any]:
    """The JSON object of the command, with `exit_code` 0, or 3 where what it looked at does not hold.

    InputError where the command says that its input is bad, another AutocastError where it fails otherwise.
    """
    ended = await _run(folder, command, words)
    if ended.exit_code not in (0, _NOT_HELD):
        kind: type[AutocastError] = InputError if ended.exit_code == _BAD_INPUT else AutocastError
        raise kind(str(ended.values.get("error") or f"ended with code {ended.exit_code}"))
    return {"exit_code": ended.exit_code, **shortened(ended.values)}


def shortened(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with long lists cut; where one was, `left_out` says how many entries of which list are missing."""
    left_out: dict[str, int] = {}
    cut = {name: _cut(value, name, left_out) for name, value in values.items()}
    return {**cut, "left_out": left_out} if left_out else cut


def _cut(value: Any, where: str, left_out: dict[str, int]) -> Any:
    if isinstance(value, Mapping):
        return {name: _cut(each, f"{where}.{name}", left_out) for name, each in value.items()}
    if not isinstance(value, Sequence) or isinstance(value, str):
        return value
    if len(value) > LONGEST_LIST:
        left_out[where] = len(value) - LONGEST_LIST
    return [_cut(each, f"{where}[]", left_out) for each in value[:LONGEST_LIST]]


async def _run(folder: Path, command: str, words: Sequence[str]) -> CommandAnswer:
    environment = with_package_path({"AUTOCAST_ISOLATION": "process", **os.environ})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _PROGRAM, command, "--json", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env=environment,
    )
    try:
        out, err = await process.communicate()
    finally:
        # The agent cancelled the call: the command ends as by Ctrl-C.
        if process.returncode is None:
            process.terminate()
            await process.wait()
    try:
        values = json.loads(out)
    except ValueError:
        lines = err.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        values = {"error": f"the command ended with code {process.returncode}: {lines[-1][:500]}"}
    return CommandAnswer(process.returncode if process.returncode is not None else 1, values)
