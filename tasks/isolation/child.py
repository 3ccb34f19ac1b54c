"""The child process of `tasks.isolation`: ``python -P -m tasks.isolation.child DESCRIPTOR LIMITS``.

Sets its own limits, then calls one function after the other as it is asked over the socket DESCRIPTOR, and answers in
JSON: progress and log lines while a call lasts, then its result or its error. It ends with its parent.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import pickle
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

from autocast_core.progress import Progress
from autocast_core.text import one_line

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_PROGRESS_SECONDS = 0.1
_NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")
_TRACE = 10_000
"""Letters of a traceback that are passed on, its last ones."""
_Call = tuple[str, str, Any, Any, bool]
"""Module, function, arguments, options, and whether the caller hears what is told."""


def main() -> None:
    """Serves until the parent closes its end."""
    descriptor, limits = int(sys.argv[1]), json.loads(sys.argv[2])
    restrict(limits)
    line = _Line(Connection(descriptor))
    handler = _PassOn(line)
    ours = logging.getLogger("autocast_core")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    while (asked := line.next_call()) is not None:
        line.send(_done(asked, line))


def restrict(limits: Mapping[str, Any]) -> None:
    """Memory, files and core dumps are limited, more rights cannot be gained, and the parent's end is ours."""
    parent = os.getppid()
    for kind, most in (
        (resource.RLIMIT_DATA, int(limits["memory_bytes"])),
        (resource.RLIMIT_FSIZE, int(limits["file_bytes"])),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def _done(asked: _Call, line: _Line) -> dict[str, Any]:
    """What a call came to."""
    from pydantic_core import to_jsonable_python

    from tasks.progress import listening

    module, name, arguments, options, tells = asked

    def tell(value: Any) -> None:
        line.send({"told": to_jsonable_python(value, inf_nan_mode="constants")})

    try:
        function = getattr(importlib.import_module(module), name)
        with listening(_Reporter(line)):
            result = function(*arguments, **options, **({"tell": tell} if tells else {}))
            return {"result": to_jsonable_python(result, inf_nan_mode="constants")}
    except MemoryError as error:
        return {"error": str(error), "kinds": ["MemoryError"], "memory": True, "dead": True}
    except Exception as error:
        return {
            "error": one_line(error),
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "memory": _is_for_memory(error),
            "trace": traceback.format_exc(limit=-12),
        }


def _is_for_memory(error: BaseException) -> bool:
    """Whether an allocation failed below: native libraries say so in the words of their own exceptions. Other messages
    may hold such words as a name from a file."""
    cause: BaseException | None = error
    while cause is not None:
        native = isinstance(cause, RuntimeError) or type(cause).__module__.startswith("onnxruntime")
        if isinstance(cause, MemoryError) or (native and any(words in str(cause) for words in _NO_MEMORY)):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


class _Line:
    """The socket to the parent; several threads may speak."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def next_call(self) -> _Call | None:
        """What the parent asks next; None where it has gone."""
        try:
            asked: _Call = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            return None
        return asked

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._connection.send_bytes(json.dumps(message).encode())


class _Reporter:
    """Sends progress to the parent, at most ten times a second and at the end of a stage."""

    def __init__(self, line: _Line) -> None:
        self._line, self._last = line, 0.0

    def begin(self, stage: str) -> None: ...

    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_SECONDS or progress.done == progress.total:
            self._last = now
            self._line.send({"progress": progress.__dict__})

    def end(self, stage: str, seconds: float, failed: bool) -> None: ...

    def note(self, key: str, value: str) -> None: ...


class _PassOn(logging.Handler):
    """Sends log records to the parent."""

    def __init__(self, line: _Line) -> None:
        super().__init__(logging.INFO)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        for line in (record.getMessage(), *trace[-_TRACE:].splitlines()):
            text = "".join(letter for letter in line[:2000] if letter.isprintable())
            self._line.send({"log": record.levelno, "text": text})


if __name__ == "__main__":
    main()
