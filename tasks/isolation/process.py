"""Stages in a process of their own, with limits of memory, time and file size, as they read untrusted files.

`isolated(function, result)` marks a function that reads or converts such files. Within `isolation(limits)` every call
of one goes to one child process (`tasks.isolation.child`), which starts with the block and anew when it has died;
outside it is an ordinary call. The child gets no credentials: its environment is an allow-list, its home and temporary
files are a folder that ends with the block. Its answers are read as JSON and checked against the declared type.
What has to be known while a call lasts, and is no progress, the function passes to its option `tell`, which is called
on this side.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
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
from autocast_core.progress import Progress
from tasks.progress import report
from tasks.settings import positive_number

P = ParamSpec("P")
R = TypeVar("R")

LOG = logging.getLogger(__name__)
LARGEST_MESSAGE = 256 << 20
"""Bytes of one answer; a plan's counts and paths take kilobytes."""
PASSED_ON = ("PATH", "LANG", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
PASSED_ON_PREFIXES = ("LC_", "OMP_", "OPENBLAS_", "MKL_", "CUDA_", "NVIDIA_")
TELL = "tell"
"""The option by which a function tells its caller something while it runs."""
_PREFIX = "AUTOCAST_ISOLATION_"


class StageDiedError(InputError):
    """The process that read a file crashed or went beyond a limit: the file is hostile, or the limit is too low."""


class StageDefectError(AutocastError):
    """The process met an error that none of ours stands for: a defect of ours."""


@dataclass(frozen=True)
class Limits:
    """Of one child process: bytes of private memory (RLIMIT_DATA of getrlimit(2)), seconds a stage may take, bytes of a
    file that it writes (RLIMIT_FSIZE)."""

    memory_bytes: int
    stage_seconds: float = 3600.0
    file_bytes: int = 64 << 30

    @staticmethod
    def from_environment(environment: Mapping[str, str] = os.environ) -> Limits:
        """AUTOCAST_ISOLATION_{MEMORY_BYTES,SECONDS,FILE_BYTES}; memory is 90% of what is free unless set. ConfigError
        names the variable that is no positive number."""
        free = available_bytes()
        return Limits(
            int(positive_number(environment, f"{_PREFIX}MEMORY_BYTES", 0.9 * free if free else 1 << 40)),
            positive_number(environment, f"{_PREFIX}SECONDS", 3600.0),
            int(positive_number(environment, f"{_PREFIX}FILE_BYTES", 64 << 30)),
        )


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    line: Connection
    words: Path


@dataclass
class IsolatedProcess:
    """One child at a time, used by one call at a time; `folder` holds its home, temporary files and last words."""

    limits: Limits
    folder: Path
    _child: _Child | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> _Child:
        """The child, started where there is none."""
        if self._child is None or self._child.process.poll() is not None:
            self.stop()
            ours, theirs = Pipe()
            words = self.folder / "stderr"
            with theirs, open(words, "wb") as stderr:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "tasks.isolation.child",
                        str(theirs.fileno()),
                        json.dumps(asdict(self.limits)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    pass_fds=[theirs.fileno()],
                    env=_environment(self.folder),
                    start_new_session=True,
                )
            self._child = _Child(process, ours, words)
        return self._child

    def stop(self) -> None:
        """Ends the child and whatever it started."""
        child, self._child = self._child, None
        if child is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        child.line.close()

    def call(self, function: Callable[..., Any], arguments: Any, options: Any, result: Any, told: Any = None) -> Any:
        """What the function returns in the child; its AutocastErrors are raised here as well.

        StageDiedError where the child dies or goes beyond a limit, StageDefectError for any other exception.
        """
        stage = function.__name__
        options = dict(options)
        tell = options.pop(TELL, None) if told is not None else None

        def hear(value: Any) -> None:
            if tell is None:
                raise StageDiedError(_nonsense(stage))
            tell(_typed(told, value, stage))

        with self._lock:
            child = self.start()
            try:
                call = (function.__module__, function.__qualname__, arguments, options, tell is not None)
                child.line.send_bytes(pickle.dumps(call))
                answer = _answer(child, stage, self.limits, hear)
            except BaseException:
                self.stop()
                raise
            if answer.get("dead"):
                self.stop()
        if "error" in answer:
            raise _error(answer, stage, self.limits)
        return _typed(result, answer["result"], stage)


_PROCESS: ContextVar[IsolatedProcess | None] = ContextVar("isolated process", default=None)


def isolated(function: Callable[P, R], result: Any, told: Any = None) -> Callable[P, R]:
    """`function`, of a module that can be imported by name, called in the child within `isolation`.

    Its arguments are pickled; what it returns is of the type `result`, which pydantic can write as JSON and read, and
    what it passes to its option `tell` is of the type `told`. Each time that it tells something its seconds begin anew.
    """

    @wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> R:
        process = _PROCESS.get()
        if process is None:
            return function(*arguments, **options)
        return process.call(function, arguments, options, result, told)

    return call


@contextmanager
def isolation(limits: Limits | None) -> Iterator[None]:
    """Within it isolated functions run in a child process with `limits`; None: in this process."""
    if limits is None:
        yield
        return
    folder = Path(tempfile.mkdtemp(prefix="autocast-isolated-"))
    process = IsolatedProcess(limits, folder)
    token = _PROCESS.set(process)
    try:
        # In this thread, which outlives all calls: the child dies with the thread that made it.
        process.start()
        yield
    finally:
        _PROCESS.reset(token)
        process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    """What a child may know: how to run, and nothing that opens a door."""
    kept = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    own = str(folder)
    # Where this package lies, so that the child has the same one; `-P` keeps the current folder out.
    package = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (package, kept.get("PYTHONPATH"))))
    quiet = {"PREFECT_HOME": own, "DO_NOT_TRACK": "1", "MPLBACKEND": "agg", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**kept, **quiet, "HOME": own, "TMPDIR": own}


def _answer(child: _Child, stage: str, limits: Limits, hear: Callable[[Any], None]) -> dict[str, Any]:
    """The last message of a call; what comes before it, progress, log lines and what is told, is passed on."""
    deadline = time.monotonic() + limits.stage_seconds
    while True:
        try:
            if not child.line.poll(max(0.0, deadline - time.monotonic())):
                raise StageDiedError(
                    f"{stage}: took longer than {limits.stage_seconds:g} s and was ended: the file keeps it busy for "
                    f"ever, or {_PREFIX}SECONDS is too low for it"
                )
            message = json.loads(child.line.recv_bytes(LARGEST_MESSAGE))
        except (EOFError, OSError, ValueError, RecursionError) as error:
            child.line.close()
            raise StageDiedError(_ending(child, stage, limits)) from error
        if "progress" in message:
            report(_typed(Progress, message["progress"], stage))
        elif "told" in message:
            hear(message["told"])
            deadline = time.monotonic() + limits.stage_seconds
        elif "log" in message:
            logging.getLogger("autocast_core").log(min(int(message["log"]), logging.ERROR), "%s", message["text"])
        else:
            return message


def _ending(child: _Child, stage: str, limits: Limits) -> str:
    """Why the child is gone, in one line."""
    try:
        code = child.process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return f"{stage}: its process answers nonsense: the file has taken it over; do not use this file"
    last = _last_words(child.words)
    if "bad_alloc" in last or "MemoryError" in last:
        return _too_large(stage, limits)
    if code == -signal.SIGKILL:
        return f"{stage}: its process was killed, probably for lack of memory: free some, or convert a smaller model"
    how = f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with code {code}"
    return f"{stage}: its process {how}: the model or its data cannot be read safely{f' ({last})' if last else ''}"


def _too_large(stage: str, limits: Limits) -> str:
    return (
        f"{stage}: needs more than the {limits.memory_bytes / 2**30:.1f} GiB of memory that it may have: the file asks "
        f"for too much, or {_PREFIX}MEMORY_BYTES is too low for it"
    )


def _last_words(path: Path) -> str:
    """The end of what the child printed, printable and short."""
    try:
        with open(path, "rb") as words:
            words.seek(max(0, path.stat().st_size - 2000))
            lines = words.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "".join(letter for letter in (lines[-1] if lines else "") if letter.isprintable())[:200]


def _error(answer: Mapping[str, Any], stage: str, limits: Limits) -> AutocastError:
    """The error that the child tells of, as one of ours."""
    if answer.get("memory"):
        return StageDiedError(_too_large(stage, limits))
    for name in answer["kinds"]:
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, AutocastError):
            return kind(str(answer["error"]))
    LOG.error("%s: %s", stage, answer.get("trace", ""))
    return StageDefectError(f"{stage}: {answer['kinds'][0]}: {answer['error']}")


def _typed(result: Any, value: Any, stage: str) -> Any:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(result).validate_python(value)
    except ValidationError as error:
        raise StageDiedError(_nonsense(stage)) from error


def _nonsense(stage: str) -> str:
    return f"{stage}: its process answers nonsense: do not use this file"
