"""How a command ends: one JSON object or text on stdout, one line on stderr where it fails, an exit code."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, NoReturn

from autocast_core.errors import AutocastError, GateError, was_interrupted
from autocast_core.json_values import finite
from autocast_core.process.log_setup import LOGGER, OneLineFormatter
from autocast_core.text import one_line, visible

MISUSE = 2
FAILURE = 1


class FailedCheckError(GateError):
    """What the command looked at does not hold: exit code 3. `found` is all that it found, by the keys of its JSON."""

    def __init__(self, message: str, found: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.found = found


def finish(
    command: Callable[[], Mapping[str, Any]],
    keys: tuple[str, ...],
    as_json: bool,
    known: Mapping[str, Any] = MappingProxyType({}),
) -> Mapping[str, Any]:
    """Runs `command`, whose result holds `keys`, and returns it; ends the process where it fails.

    With `as_json` stdout gets exactly one JSON object, of success or of failure, whatever else prints meanwhile. What
    the converter logs as a warning is a line on stderr, except while a flow's log file takes it.
    `known` has those values that the command learns on its way, for when it fails.
    """
    from autocast_core.process.full_disk import full_disk_told
    from autocast_core.process.out_of_memory import out_of_memory_told
    from flows.local.environment import only_json_on_stdout

    try:
        stdout = only_json_on_stdout() if as_json else nullcontext()
        with stdout, _warnings_told(), full_disk_told(), out_of_memory_told():
            result = command()
    except (Exception, KeyboardInterrupt) as error:
        if was_interrupted(error):
            _fail("interrupted", FAILURE, known, keys, as_json)
        if isinstance(error, AutocastError):
            _fail(one_line(error), error.exit_code, {**known, **partial_result(error)}, keys, as_json)
        if os.environ.get("AUTOCAST_TRACEBACK"):
            raise
        text = f"{type(error).__name__}: {one_line(error)} (set AUTOCAST_TRACEBACK=1 to see where)"
        _fail(text, FAILURE, known, keys, as_json)
    if as_json:
        print_json({"ok": True, "error": None, **{key: result.get(key) for key in keys}})
    return result


@contextmanager
def _warnings_told() -> Iterator[None]:
    """The converter's warnings as commands write them: libraries install handlers with forms of their own."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(OneLineFormatter("warning: %(message)s"))
    before = LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.propagate = before


def end_failed(error: AutocastError) -> NoReturn:
    """Ends the process with the error before a command began, as `finish` does."""
    _fail(one_line(error), error.exit_code, {}, (), "--json" in sys.argv)


def end_interrupted() -> NoReturn:
    """Ends the process that was interrupted before a command began or after it, as `finish` does."""
    _fail("interrupted", FAILURE, {}, (), "--json" in sys.argv)


def say(text: str) -> None:
    """One line on stdout. It may hold names from anyone's files: what would move the cursor or end the line is written
    as an escape."""
    print(visible(text, 100_000))


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on stdout, with None for NaN and infinity."""
    print(json.dumps(finite(value), allow_nan=False, ensure_ascii=False), flush=True)


def partial_result(error: BaseException) -> Mapping[str, Any]:
    """What a failed command could still say."""
    if isinstance(error, FailedCheckError):
        return error.found
    result = getattr(error, "result", None)
    return result.to_json() if result is not None else {}


def _fail(text: str, code: int, result: Mapping[str, Any], keys: tuple[str, ...], as_json: bool) -> NoReturn:
    for warning in result.get("warnings") or ():
        print(f"warning: {one_line(warning)}", file=sys.stderr)
    print(f"error: {text}", file=sys.stderr, flush=True)
    if as_json:
        print_json({"ok": False, "error": text, **{key: result.get(key) for key in keys}})
    raise SystemExit(code)
