"""The child process of `tasks.isolation`: ``python -P -m tasks.isolation.child DESCRIPTOR LIMITS``.

Sets its own limits, then serves calls one after the other over the socket DESCRIPTOR. Its responses are JSON: progress,
log lines and messages for the callback while a call lasts, then the result or the error. It ends with its parent.
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

from autocast_core.pipeline.cache import shared_artifacts
from autocast_core.process.full_disk import full_disk_told
from autocast_core.process.lazy_imports import postpone_symbolic_shapes
from autocast_core.process.out_of_memory import is_out_of_memory
from autocast_core.progress import Progress
from autocast_core.text import one_line
from tasks.prefect_settings import ignore_settings_files
from tasks.progress import SilentListener, listening

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_PROGRESS_SECONDS = 0.1
_TRACE = 10_000
"""Characters of a traceback that are passed on, its last ones."""
_Call = tuple[str, str, Any, Any, bool]
"""Module, function, arguments, options, and whether the function gets a callback."""


def main() -> None:
    """Serves calls until the parent closes its end."""
    postpone_symbolic_shapes()
    ignore_settings_files()
    descriptor, limits = int(sys.argv[1]), json.loads(sys.argv[2])
    restrict(limits)
    channel = _Channel(Connection(descriptor))
    handler = _Forwarder(channel)
    ours = logging.getLogger("autocast_core")
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    with shared_artifacts():
        while (call := channel.next_call()) is not None:
            channel.send(_response(call, channel))


def restrict(limits: Mapping[str, Any]) -> None:
    """Limits memory, files and core dumps, forbids new privileges, and ties this process's life to its parent's."""
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


def _response(call: _Call, channel: _Channel) -> dict[str, Any]:
    """The result or the error of a call."""
    from pydantic_core import to_jsonable_python

    module, name, arguments, options, has_callback = call

    def callback(value: Any) -> None:
        channel.send({"message": to_jsonable_python(value, inf_nan_mode="constants")})

    try:
        function = getattr(importlib.import_module(module), name)
        with full_disk_told(), listening(_ProgressSender(channel)):
            result = function(*arguments, **options, **({"callback": callback} if has_callback else {}))
            return {"result": to_jsonable_python(result, inf_nan_mode="constants")}
    except MemoryError as error:
        return {"error": str(error), "kinds": ["MemoryError"], "memory": True, "dead": True}
    except Exception as error:
        return {
            "error": one_line(error),
            "kinds": [kind.__name__ for kind in type(error).__mro__],
            "memory": is_out_of_memory(error),
            "trace": traceback.format_exc(limit=-12),
        }


class _Channel:
    """The socket to the parent; several threads may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def next_call(self) -> _Call | None:
        """The parent's next call; None where the parent is gone."""
        try:
            call: _Call = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            return None
        return call

    def send(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            self._connection.send_bytes(json.dumps(message).encode())


class _ProgressSender(SilentListener):
    """Sends progress to the parent, at most ten times a second and at the end of a stage."""

    def __init__(self, channel: _Channel) -> None:
        self._channel, self._last = channel, 0.0

    def update(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_SECONDS or progress.done == progress.total:
            self._last = now
            self._channel.send({"progress": progress.__dict__})


class _Forwarder(logging.Handler):
    """Sends log records to the parent."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(logging.INFO)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        for line in (record.getMessage(), *trace[-_TRACE:].splitlines()):
            text = "".join(letter for letter in line[:2000] if letter.isprintable())
            self._channel.send({"log": record.levelno, "text": text})


if __name__ == "__main__":
    main()
