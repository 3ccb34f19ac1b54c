"""Locks on files, for threads and processes of one machine; the kernel releases them when a process dies (flock(2)).

The filelock package would do the same by polling, at 0.2 s of import time; these are the few lines that are needed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Waits until nobody else holds the lock on the file at `path`, which is created where it is missing.

    OSError where the file cannot be created. Not reentrant: a second lock in the same thread waits forever.
    """
    with open(path, "ab") as file:
        lock(file)
        yield


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Waits until nobody else holds the lock on the folder itself, so that no file of a lock is left in it.

    OSError where it cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lock(file: IO[Any]) -> None:
    """Waits for the exclusive lock on an open file, which is held until the file is closed."""
    fcntl.flock(file, fcntl.LOCK_EX)


def lock_shared(file: IO[Any]) -> None:
    """Waits for a lock on an open file that any number may hold at once, but none while the exclusive one is held."""
    fcntl.flock(file, fcntl.LOCK_SH)


def try_lock(file: IO[Any]) -> bool:
    """Takes the exclusive lock on an open file, also in place of its own shared one; False where another process or
    thread holds either."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
