"""A memory budget that concurrent conversions share, so that two large models are not converted at once."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autocast_core.process.file_lock import exclusive_lock
from flows.local.home import home


class MemoryBudget:
    """Bytes that the conversions of this process share.

    A conversion that needs more than the whole budget runs alone in this process, and as the only such conversion on
    this machine: it holds the lock on a file in AUTOCAST_HOME.
    """

    def __init__(self, total: int) -> None:
        self._total, self._free = total, total
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, needed: int) -> Iterator[None]:
        """Waits until `needed` bytes are free, and returns them after the block."""
        share = min(needed, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            if needed > self._total:
                folder = home().root
                folder.mkdir(parents=True, exist_ok=True)
                with exclusive_lock(folder / "large-model.lock"):
                    yield
            else:
                yield
        finally:
            with self._changed:
                self._free += share
                self._changed.notify_all()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled to another process, it becomes that process's one budget, shared by every conversion there."""
        return (_budget_of_this_process, (self._total,))


@functools.cache
def _budget_of_this_process(limit: int) -> MemoryBudget:
    return MemoryBudget(min(limit, _worker_bytes() or limit))


def _worker_bytes() -> int | None:
    """The memory limit in bytes of this process's Dask worker; None: it is no worker, or has no limit."""
    try:
        from distributed import get_worker

        limit: int | None = get_worker().memory_manager.memory_limit
        return limit
    except (ImportError, ValueError):
        return None
