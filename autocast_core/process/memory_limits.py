"""What this process's own limits leave of memory, and saying so before a native library runs into them.

Native code that gets no memory for a thread or for its own data ends the process without a word.
"""

from __future__ import annotations

from pathlib import Path

from autocast_core.errors import InputError

_STATUS = Path("/proc/self/status")


def limited_bytes() -> dict[str, int]:
    """By name of each finite one of RLIMIT_DATA and RLIMIT_AS (getrlimit(2)) the bytes that it leaves this process."""
    try:
        import resource  # noqa: PLC0415 - Windows lacks it
    except ImportError:
        return {}
    found = {}
    for name, taken in (("RLIMIT_DATA", "VmData"), ("RLIMIT_AS", "VmSize")):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY:
            found[name] = max(0, limit - (kilobytes(_STATUS, taken) or 0))
    return found


def require_limits(needed: int, what: str) -> None:
    """InputError where a limit leaves less than the `needed` bytes for `what` to start."""
    for name, left in limited_bytes().items():
        if left < needed:
            option = "-d" if name == "RLIMIT_DATA" else "-v"
            raise InputError(
                f"{name} leaves {left >> 20} MiB of memory, and {what} needs at least {needed >> 20} MiB to start:"
                f" raise the limit (ulimit {option})"
            )


def kilobytes(path: Path, name: str) -> int | None:
    """In bytes what a file of proc(5) says in kB behind `name`; None where it does not."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
