"""The servers that commands keep, and what they cost: Prefect's embedded server, and forks of the fork server."""

from __future__ import annotations

import os
from pathlib import Path

from flows.local.embedded_server import running_servers
from flows.local.home import Home

_OWN, _CHILDREN = slice(11, 13), slice(13, 15)
"""User and system time of a process, and of its children that ended, behind its name in /proc/PID/stat."""


def cpu_of_forks(home: Home) -> float:
    """Seconds of CPU time (user and system) of the ended forks of the fork server, and of their children."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(home.forks.absolute()) in (process / "cmdline").read_text():
                return _seconds(process, _CHILDREN)
        except OSError:
            continue
    return 0.0


def cpu_of_server(home: Home) -> float:
    """Seconds of CPU time (user and system) of the embedded server so far."""
    return sum(_seconds(Path(f"/proc/{server.process}"), _OWN) for server in running_servers(home.server))


def _seconds(process: Path, which: slice) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[which])) / os.sysconf("SC_CLK_TCK")
