"""What a command costs: a process of its own, measured from outside."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL_CHARACTERS = 300
_ANY_SERVER = ("PREFECT_", "MLFLOW_", "AUTOCAST_")


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user and system, imports included), wall seconds, peak memory (ru_maxrss of the largest process,
    MiB), the exit status (None: stopped after `timeout`) and the end of what a failed command said."""

    cpu: float
    wall: float
    peak_mib: float
    status: int | None
    said: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "cpu_s": round(self.cpu, 2),
            "wall_s": round(self.wall, 2),
            "peak_mib": round(self.peak_mib, 1),
            "status": self.status,
            **({"said": self.said} if self.said else {}),
        }


def run(command: Sequence[str | Path], log: Path, *, timeout: float, environment: Mapping[str, str]) -> Cost:
    """Run `command` with its output in `log`; `environment` is added to ours, which names no servers. Compiled modules
    are kept, as usual."""
    inherited = {name: value for name, value in without_servers().items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, env={**inherited, **environment}
        )
    status, usage = _wait(process.pid, started + timeout)
    stopped = status is None
    if stopped:
        process.kill()
        _, _, usage = os.wait4(process.pid, 0)
    process.returncode = -9 if stopped else status
    return Cost(
        cpu=usage.ru_utime + usage.ru_stime,
        wall=time.monotonic() - started,
        peak_mib=usage.ru_maxrss / 1024,
        status=status,
        said="" if status == 0 else _tail(log),
    )


def without_servers() -> dict[str, str]:
    """This process's environment without what names servers and settings of the user's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_ANY_SERVER)}
    return {**kept, "AUTOCAST_SETTINGS": ""}


def _wait(pid: int, deadline: float) -> tuple[int | None, Any]:
    while time.monotonic() < deadline:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), usage
        time.sleep(0.02)
    return None, None


def _tail(log: Path) -> str:
    text = " ".join(log.read_text(errors="replace").split())
    return text[-_TAIL_CHARACTERS:]
