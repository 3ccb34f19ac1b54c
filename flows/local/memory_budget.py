"""Memory that conversions running at once share, so that two large models do not meet."""

from __future__ import annotations

import fcntl
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.local.home import home


class MemoryBudget:
    """Bytes that the conversions of this process share.

    One that needs more than all of them runs alone: here, and of its kind also on this machine (flock(2) on a file in
    AUTOCAST_HOME, which the kernel frees when a process dies).
    """

    def __init__(self, total: int) -> None:
        self._total, self._free = total, total
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, needed: int) -> Iterator[None]:
        """Waits until `needed` bytes are free, and gives them back afterwards."""
        share = min(needed, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            if needed > self._total:
                with _only_large_one(home().root / "large-model.lock"):
                    yield
            else:
                yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to another process, it is that one's budget: the same for every conversion there."""
        return (_budget_of_this_process, (self._total,))


@functools.cache
def _budget_of_this_process(limit: int) -> MemoryBudget:
    return MemoryBudget(min(limit, _worker_bytes() or limit))


def _worker_bytes() -> int | None:
    """The memory that the Dask worker of this process has been given of its machine's; None: no worker, or no limit."""
    try:
        from distributed import get_worker

        return get_worker().memory_manager.memory_limit
    except (ImportError, ValueError):
        return None


@contextmanager
def _only_large_one(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
