"""Long-running processes of one folder: started once, found again by a later command, stopped with their children.

FOLDER/run/NAME.pid names a process and the moment it began, so that a reused number is never taken for it;
FOLDER/logs/NAME.log holds what it writes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autocast_core.errors import ServiceError

START_LIMIT_SECONDS = 240.0
STOP_LIMIT_SECONDS = 20.0


@dataclass(frozen=True)
class Process:
    """What to run, with which variables added to the environment, as which user (None: ours), and when it is ready."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    start_limit_seconds: float = START_LIMIT_SECONDS


def start(folder: Path, process: Process) -> None:
    """Starts the process unless it runs already, in a session of its own; does not wait for it."""
    if is_running(folder, process.name):
        return
    log = log_of(folder, process.name)
    for parent in (log.parent, folder / "run"):
        parent.mkdir(exist_ok=True)
    user: dict[str, Any] = {"user": process.user, "group": process.user, "extra_groups": []} if process.user else {}
    with log.open("ab") as stream:
        child = subprocess.Popen(
            process.command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, **process.environment},
            cwd="/" if process.user else folder,
            start_new_session=True,
            **user,
        )
    note = {"pid": child.pid, "began": _began(child.pid)}
    (folder / "run" / f"{process.name}.pid").write_text(json.dumps(note), encoding="utf-8")


def heed_interrupts() -> None:
    """To be called by the main thread before anything is started: lets children heed SIGINT.

    A shell's background job ignores it, its children inherit that, and a Prefect worker then ignores SIGTERM too.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait(folder: Path, process: Process) -> None:
    """Returns when the process is ready. ServiceError with the last line of its log when it ends or takes too long."""
    deadline = time.monotonic() + process.start_limit_seconds
    while time.monotonic() < deadline:
        if process.is_ready():
            return
        if not is_running(folder, process.name):
            raise ServiceError(f"{process.name} ended at once: {_last_line(folder, process.name)}")
        time.sleep(0.2)
    raise ServiceError(
        f"{process.name} is not ready after {process.start_limit_seconds:.0f} s: {_last_line(folder, process.name)}"
    )


def stop(folder: Path, name: str, stop_signal: signal.Signals = signal.SIGTERM) -> None:
    """Ends the process and its children, by SIGKILL where it does not end by itself."""
    note = folder / "run" / f"{name}.pid"
    pid = pid_of(folder, name)
    if pid is not None:
        os.kill(pid, stop_signal)
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while is_running(folder, name) and time.monotonic() < deadline:
            time.sleep(0.1)
        _kill_group(pid)
    note.unlink(missing_ok=True)


def kill(folder: Path, name: str) -> None:
    """SIGKILL to the process and everything in its session's process group, as a machine that dies."""
    pid = pid_of(folder, name)
    if pid is not None:
        _kill_group(pid)
    (folder / "run" / f"{name}.pid").unlink(missing_ok=True)


def names(folder: Path) -> tuple[str, ...]:
    """The processes started in the folder and not stopped since, running or not."""
    return tuple(sorted(path.stem for path in (folder / "run").glob("*.pid")))


def is_running(folder: Path, name: str) -> bool:
    """Whether the process that was started under this name still runs."""
    return pid_of(folder, name) is not None


def pid_of(folder: Path, name: str) -> int | None:
    """The id of the running process of this name."""
    try:
        note = json.loads((folder / "run" / f"{name}.pid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(note["pid"]) if note["began"] is not None and _began(note["pid"]) == note["began"] else None


def answers(url: str, user_and_password: str = "") -> bool:
    """Whether a GET of `url` gives 200, by HTTP's basic authentication where USER:PASSWORD is given."""
    request = urllib.request.Request(url)
    if user_and_password:
        request.add_header("Authorization", f"Basic {b64encode(user_and_password.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def accepts(port: int) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _began(pid: int) -> str | None:
    """The start time of a process that is no zombie, in clock ticks since boot (proc(5), field 22 of stat)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def log_of(folder: Path, name: str) -> Path:
    """Where a process of this name writes."""
    return folder / "logs" / f"{name}.log"


def _last_line(folder: Path, name: str) -> str:
    log = log_of(folder, name)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it wrote nothing")
    return f"{last[-500:]}; {log} has the rest"
