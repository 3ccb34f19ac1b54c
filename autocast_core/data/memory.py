"""How much memory this process may still take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def available_bytes() -> int | None:
    """Bytes that may be allocated without swapping: MemAvailable of proc(5), or less where the control group's
    memory.max (cgroups(7), version 2; memory.limit_in_bytes of version 1), RLIMIT_DATA or RLIMIT_AS (getrlimit(2))
    leaves less. None where the system does not tell."""
    known = (_meminfo(), _control_group(), _control_group_1(), *_resource_limits())
    return min((number for number in known if number is not None), default=None)


def _meminfo() -> int | None:
    return _kilobytes(_PROC / "meminfo", "MemAvailable")


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


def _resource_limits() -> list[int]:
    try:
        import resource  # noqa: PLC0415 - Windows lacks it
    except ImportError:
        return []
    found = []
    for kind, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            found.append(max(0, limit - (_kilobytes(_PROC / "self/status", name) or 0)))
    return found


def _kilobytes(path: Path, name: str) -> int | None:
    """In bytes what a file of proc(5) says in kB behind `name`."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _file_pages(stat: Mapping[str, int], prefix: str = "") -> int:
    """Bytes that the system takes back on demand: of files that are read or mapped."""
    return sum(stat.get(f"{prefix}{kind}_file", 0) for kind in ("inactive", "active"))


def _statistics(path: Path) -> dict[str, int]:
    return {name: int(number) for name, number in (line.split() for line in path.read_text().splitlines())}
