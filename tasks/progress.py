"""Progress of stages, reported to the listener of the current context: a terminal, a log; by default a silent one."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from autocast_core.progress import Progress


class Listener(Protocol):
    """Receives the begin, the progress and the end of every stage."""

    def begin(self, stage: str) -> None: ...

    def update(self, progress: Progress) -> None: ...

    def end(self, stage: str, seconds: float, failed: bool) -> None: ...

    def note(self, key: str, value: str) -> None:
        """A fact to show before the end, such as the id of the tracking run."""
        ...


class SilentListener:
    """Does nothing; a base for listeners to some of the events."""

    def begin(self, stage: str) -> None: ...

    def update(self, progress: Progress) -> None: ...

    def end(self, stage: str, seconds: float, failed: bool) -> None: ...

    def note(self, key: str, value: str) -> None: ...


_LISTENER: ContextVar[Listener] = ContextVar("progress listener")
_SILENT = SilentListener()


def listener() -> Listener:
    """The listener of this context."""
    return _LISTENER.get(_SILENT)


def report(progress: Progress) -> None:
    """Updates this context's listener; the progress callback of every stage."""
    listener().update(progress)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """`listener` receives the events of all stages in the block."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def stage(name: str, timings: MutableMapping[str, float] | None = None) -> Iterator[None]:
    """Reports the begin and the end of the stage `name`, and adds the seconds it took to `timings`."""
    current = listener()
    current.begin(name)
    started = time.monotonic()
    failed = True
    try:
        yield
        failed = False
    finally:
        seconds = time.monotonic() - started
        if timings is not None:
            timings[name] = round(timings.get(name, 0.0) + seconds, 3)
        current.end(name, seconds, failed)
