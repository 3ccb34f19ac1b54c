"""Interrupts that take effect wherever they arrive."""

from __future__ import annotations

import signal
import sys
import threading
from _thread import interrupt_main
from typing import Any

_SECONDS = 0.05


def heed_interrupts() -> None:
    """From now on SIGTERM raises KeyboardInterrupt in this process, as SIGINT does, and what a callback swallows is
    raised again. A service manager's signal must run finally clauses, so that no server or half-written file is left.

    Python ignores what is raised in a weak reference's callback or in `__del__`, of which SQLAlchemy has many: an
    interrupt that arrives there would be lost.
    """
    signal.signal(signal.SIGTERM, _terminated)
    ignore = sys.unraisablehook

    def raise_again(ignored: Any) -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            # From a thread, a moment later: here it would be ignored once more.
            threading.Timer(_SECONDS, interrupt_main, (signal.SIGTERM,)).start()
        else:
            ignore(ignored)

    sys.unraisablehook = raise_again


def _terminated(number: int, _: Any) -> None:
    raise KeyboardInterrupt(f"signal {number}")
