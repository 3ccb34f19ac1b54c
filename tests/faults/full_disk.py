"""A disk that is full at one write site: a file that this process opens to write is a real /dev/full for its writer.

What is written there ends with the kernel's own ENOSPC, whoever writes: Python, sendfile(2), a library. Files that
libraries open by themselves (sqlite's) are not seen here; a small file system in memory stands for their disk.
"""

from __future__ import annotations

import builtins
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / name) + os.sep for name in ("autocast_core", "tasks", "flows"))
ELSEWHERE = ("/dev/", "/proc/", "/sys/")
_WRITES = os.O_WRONLY | os.O_RDWR


def site(path: str) -> str:
    """What names the place that opens `path`: our innermost function on the stack, and the file without its numbers."""
    frame = sys._getframe(2)
    while frame is not None and not frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back  # type: ignore[assignment]
    where = "a library's own thread"
    if frame is not None:
        where = f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_code.co_name}"
    name = re.sub(r"[0-9a-f]{6,}|\d+|(?<=tmp)\w{8}$", "N", Path(path).name)
    return f"{where} {name}"


@contextmanager
def opened_to_write(at: Callable[[str], bool]) -> Iterator[list[str]]:
    """The sites that files are opened to write at, in their order; where `at` says so, the disk of the file is full."""
    seen: list[str] = []
    plain_open, plain_os_open = builtins.open, os.open

    def full(path: Any) -> bool:
        if not isinstance(path, str | bytes | os.PathLike) or os.fsdecode(path).startswith(ELSEWHERE):
            return False
        name = site(os.fsdecode(path))
        seen.append(name)
        return at(name)

    def fill(descriptor: int) -> None:
        device = plain_os_open("/dev/full", os.O_RDWR)
        os.dup2(device, descriptor)
        os.close(device)

    def counting_open(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        fails = set(mode) & set("wax+") and full(file)
        opened = plain_open(file, mode, *arguments, **options)
        if fails:
            fill(opened.fileno())
        return opened

    def counting_os_open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        fails = flags & _WRITES and not flags & os.O_DIRECTORY and full(path)
        descriptor = plain_os_open(path, flags, *arguments, **options)
        if fails:
            fill(descriptor)
        return descriptor

    builtins.open, io.open, os.open = counting_open, counting_open, counting_os_open  # type: ignore[assignment]
    try:
        yield seen
    finally:
        builtins.open, io.open, os.open = plain_open, plain_open, plain_os_open
