"""How much memory is free on this machine."""

from __future__ import annotations

from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def available_bytes() -> int | None:
    """Bytes that may be allocated without swapping: MemAvailable of proc(5), or less where the control group's
    memory.max (cgroups(7), version 2) leaves less. None where the system does not tell."""
    known = [number for number in (_meminfo(), _control_group()) if number is not None]
    return min(known) if known else None


def _meminfo() -> int | None:
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _control_group() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    # File pages are given back on demand.
    return None if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))
