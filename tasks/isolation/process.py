"""Runs stages in a child process with limits of memory, time and file size, because they read untrusted files.

`isolated(function, result)` marks a function that reads or converts such files. Within `isolation(limits)` every call
of a marked function goes to one child process (`tasks.isolation.child`), which is started with the block and restarted
after it died; outside the block it is an ordinary call. The child gets no credentials: its environment is an
allow-list, and its home and temporary files are a folder that is removed with the block. Its responses are read as JSON
and checked against the declared types. For results that the caller needs before a call returns, such as the trials of a
search, a function takes the option `callback`, which is called in this process.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from functools import wraps
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from autocast_core import errors
from autocast_core.data.memory import available_bytes
from autocast_core.errors import AutocastError, InputError
from autocast_core.pipeline.cache import shared_artifacts
from autocast_core.process.cache_folder import CACHE, default_cache_folder
from autocast_core.process.child import ending, last_line, module_command, was_killed, with_package_path
from autocast_core.progress import Progress
from tasks.prefect_settings import own_files_only
from tasks.progress import report
from tasks.settings import positive_number

P = ParamSpec("P")
R = TypeVar("R")

LOG = logging.getLogger(__name__)
LARGEST_MESSAGE = 256 << 20
"""Bytes of one response; a plan's counts and paths take kilobytes."""
PASSED_ON = ("PATH", "LANG", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
PASSED_ON_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "NVIDIA_")
CALLBACK = "callback"
"""The option through which a function sends messages to its caller while it runs."""
_PREFIX = "AUTOCAST_ISOLATION_"


class StageDiedError(InputError):
    """The isolated process crashed or exceeded a limit: the file is hostile, or the limit is too low."""


class StageBugError(AutocastError):
    """An unexpected exception in the isolated process: a bug in AutoCast Flow, not bad input."""


@dataclass(frozen=True)
class ProcessLimits:
    """Limits of one child process: bytes of private memory (RLIMIT_DATA of getrlimit(2)), seconds that a stage may
    take, bytes of a file that it writes (RLIMIT_FSIZE)."""

    memory_bytes: int
    stage_seconds: float = 3600.0
    file_bytes: int = 64 << 30

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> ProcessLimits:
        """AUTOCAST_ISOLATION_{MEMORY_BYTES,SECONDS,FILE_BYTES}; by default 90% of the free memory, an hour, 64 GiB.

        ConfigError names the variable that is not a positive number.
        """
        free = available_bytes()
        return ProcessLimits(
            int(positive_number(environment, f"{_PREFIX}MEMORY_BYTES", 0.9 * free if free else 1 << 40)),
            positive_number(environment, f"{_PREFIX}SECONDS", 3600.0),
            int(positive_number(environment, f"{_PREFIX}FILE_BYTES", 64 << 30)),
        )


@dataclass(frozen=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: Connection
    stderr: Path


@dataclass
class IsolatedProcess:
    """One child at a time, used by one call at a time; `folder` holds its home, temporary files and standard error."""

    limits: ProcessLimits
    folder: Path
    _child: _Child | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> _Child:
        """The child, started where none is alive."""
        if self._child is None or self._child.process.poll() is not None:
            self.stop()
            ours, theirs = Pipe()
            stderr = self.folder / "stderr"
            with theirs, open(stderr, "wb") as stream:
                process = subprocess.Popen(
                    module_command("tasks.isolation.child", str(theirs.fileno()), json.dumps(asdict(self.limits))),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    pass_fds=[theirs.fileno()],
                    env=_environment(self.folder),
                    start_new_session=True,
                )
            self._child = _Child(process, ours, stderr)
        return self._child

    def stop(self) -> None:
        """Ends the child and whatever it started."""
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        child.connection.close()

    def call(
        self,
        stage: str,
        function: Callable[..., Any],
        arguments: Any,
        options: Mapping[str, Any],
        result: Any,
        message: Any = None,
    ) -> Any:
        """Calls the function in the child and returns its result; its AutocastErrors are raised here as well.

        StageDiedError where the child dies, exceeds a limit or sends something of another type than `result` (or than
        `message`, for its callback); StageBugError for any other exception. Errors call it `stage`.
        """
        options = dict(options)
        callback = options.pop(CALLBACK, None) if message is not None else None

        def on_message(value: Any) -> None:
            if callback is None:
                raise StageDiedError(_invalid_response(stage))
            callback(_typed(message, value, stage))

        with self._lock:
            child = self.start()
            try:
                call = (function.__module__, function.__qualname__, arguments, options, callback is not None)
                child.connection.send_bytes(pickle.dumps(call))
                response = _response(child, stage, self.limits, on_message)
            except BaseException:
                self.stop()
                raise
            if response.get("dead"):
                self.stop()
        if "error" in response:
            raise _error(response, stage, self.limits)
        return _typed(result, response["result"], stage)


_PROCESS: ContextVar[IsolatedProcess | None] = ContextVar("isolated process", default=None)


def isolated(function: Callable[P, R], result: Any, message: Any = None, *, name: str | None = None) -> Callable[P, R]:
    """`function`, called in the child process within `isolation`.

    The function must be importable by its name. Its arguments are pickled; its result is of the type `result`, and what
    it passes to its option `callback` of the type `message`: types that pydantic can write as JSON and read back. Each
    message restarts the stage's time limit. Errors of the process call it `name`, by default the function's.
    """

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        process = _PROCESS.get()
        if process is None:
            return function(*arguments, **options)
        value: R = process.call(name or function.__name__, function, arguments, options, result, message)
        return value

    return call


def is_isolated() -> bool:
    """Whether isolated functions run in a child process here."""
    return _PROCESS.get() is not None


@contextmanager
def isolation(limits: ProcessLimits | None) -> Iterator[None]:
    """Within the block isolated functions run in a child process with `limits`; None: in this process.

    What is read or made within the block is parsed once in each process; see autocast_core.pipeline.cache.
    """
    with shared_artifacts():
        if limits is None:
            yield
            return
        folder = Path(tempfile.mkdtemp(prefix="autocast-isolated-"))
        process = IsolatedProcess(limits, folder)
        token = _PROCESS.set(process)
        try:
            # In this thread, which outlives all calls: the child dies with the thread that started it
            # (PR_SET_PDEATHSIG).
            process.start()
            yield
        finally:
            _PROCESS.reset(token)
            process.stop()
            shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """The child's environment: what it needs to run, no credentials."""
    kept = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    own = str(folder)
    quiet = {
        **own_files_only({}),
        "PREFECT_HOME": own,
        "DO_NOT_TRACK": "1",
        "MPLBACKEND": "agg",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        CACHE: str(default_cache_folder().absolute()),
    }
    return {**with_package_path(kept), **quiet, "HOME": own, "TMPDIR": own}


def _response(child: _Child, stage: str, limits: ProcessLimits, on_message: Callable[[Any], None]) -> dict[str, Any]:
    """The last message of a call; progress, log lines and messages for the callback before it are passed on."""
    deadline = time.monotonic() + limits.stage_seconds
    while True:
        try:
            if not child.connection.poll(max(0.0, deadline - time.monotonic())):
                raise StageDiedError(
                    f"{stage}: took longer than {limits.stage_seconds:g} s and was stopped: the file may keep it busy "
                    f"forever, or {_PREFIX}SECONDS is too low for it"
                )
            received = json.loads(child.connection.recv_bytes(LARGEST_MESSAGE))
        except (EOFError, OSError, ValueError, RecursionError) as error:
            child.connection.close()
            raise StageDiedError(_why_it_died(child, stage, limits)) from error
        if "progress" in received:
            report(_typed(Progress, received["progress"], stage))
        elif "message" in received:
            on_message(received["message"])
            deadline = time.monotonic() + limits.stage_seconds
        elif "log" in received:
            logging.getLogger("autocast_core").log(min(int(received["log"]), logging.ERROR), "%s", received["text"])
        else:
            return dict(received)


def _why_it_died(child: _Child, stage: str, limits: ProcessLimits) -> str:
    """Why the child no longer responds, in one line."""
    try:
        code = child.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return _invalid_response(stage)
    last = last_line(child.stderr)
    if "bad_alloc" in last or "MemoryError" in last:
        return _too_large(stage, limits)
    how = f"{stage}: its process {ending(code)}"
    if was_killed(code):
        return f"{how}: free some memory, or convert a smaller model"
    return f"{how}: the model or its data cannot be read safely{f' ({last})' if last else ''}"


def _too_large(stage: str, limits: ProcessLimits) -> str:
    return (
        f"{stage}: needs more than the allowed {limits.memory_bytes / 2**30:.1f} GiB of memory: the file asks for too "
        f"much, or {_PREFIX}MEMORY_BYTES is too low for it"
    )


def _error(response: Mapping[str, Any], stage: str, limits: ProcessLimits) -> AutocastError:
    """The exception of the child as an AutocastError."""
    if response.get("memory"):
        return StageDiedError(_too_large(stage, limits))
    for name in response["kinds"]:
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, AutocastError):
            return kind(str(response["error"]))
    LOG.error("%s: %s", stage, response.get("trace", ""))
    return StageBugError(f"{stage}: {response['kinds'][0]}: {response['error']}")


def _typed(result: Any, value: Any, stage: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(result).validate_python(value)
    except ValidationError as error:
        raise StageDiedError(_invalid_response(stage)) from error


def _invalid_response(stage: str) -> str:
    return f"{stage}: the isolated process sent an invalid response; the file may have compromised it: do not use it"
