"""Signs of life of a lock's holder, beside what it does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

LOG = logging.getLogger(__name__)


@contextmanager
def heartbeat(beat: Callable[[], object], seconds: float, what: str) -> Iterator[None]:
    """Calls `beat` every `seconds` within the block, in a thread; where it fails, that is logged, with `what` it is
    the heartbeat of, and the next is tried."""
    released = threading.Event()

    def run() -> None:
        while not released.wait(seconds):
            try:
                beat()
            except Exception as error:
                LOG.warning("%s: heartbeat failed (%s)", what, type(error).__name__)

    # Prefect's settings live in the context: without it the thread would talk to (and start) another server.
    thread = threading.Thread(target=copy_context().run, args=(run,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
