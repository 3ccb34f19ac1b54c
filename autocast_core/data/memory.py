"""How much memory this process may still take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autocast_core.process.memory_limits import kilobytes, limited_bytes

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def available_bytes() -> int | None:
    """Bytes that may be allocated without swapping: MemAvailable of proc(5), or less where the control group's
    memory.max (cgroups(7), version 2; memory.limit_in_bytes of version 1), RLIMIT_DATA or RLIMIT_AS (getrlimit(2))
    leaves less. None where the system does not tell."""
    known = (_meminfo(), _control_group(), _control_group_1(), *limited_bytes().values())
    return min((number for number in known if number is not None), default=None)


def _meminfo() -> int | None:
    return kilobytes(_PROC / "meminfo", "MemAvailable")


def _control_group() -> int | None:
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        stat = _statistics(_CGROUP / "memory.stat")
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) - used + _file_pages(stat)


def _control_group_1() -> int | None:
    """By the process's own group and by the outermost, which a container may be shown instead."""
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    groups = [path for _, kinds, path in (line.split(":", 2) for line in lines) if "memory" in kinds.split(",")]
    found = []
    for group in {"", *(group.strip("/") for group in groups)}:
        folder = _CGROUP / "memory" / group
        try:
            limit, used = (int((folder / f"memory.{name}_in_bytes").read_text()) for name in ("limit", "usage"))
            found.append(limit - used + _file_pages(_statistics(folder / "memory.stat"), "total_"))
        except (OSError, ValueError):
            continue
    return min(found, default=None)


def _file_pages(stat: Mapping[str, int], prefix: str = "") -> int:
    """Bytes that the system takes back on demand: of files that are read or mapped."""
    return sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("inactive", "active"))


def _statistics(path: Path) -> dict[str, int]:
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}
