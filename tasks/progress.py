"""Who listens to the progress of stages in this context: a terminal, a log file; by default nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from autocast_core.progress import Progress


class Listener(Protocol):
    """Hears which stage begins, how far it is, and that it has ended."""

    def begin(self, stage: str) -> None: ...

    def update(self, progress: Progress) -> None: ...

    def end(self, stage: str, seconds: float, failed: bool) -> None: ...

    def note(self, key: str, value: str) -> None:
        """Something to know before the end, as the id of the tracking run."""
        ...


class Nobody:
    """Hears nothing."""

    def begin(self, stage: str) -> None: ...

    def update(self, progress: Progress) -> None: ...

    def end(self, stage: str, seconds: float, failed: bool) -> None: ...

    def note(self, key: str, value: str) -> None: ...


_LISTENER: ContextVar[Listener] = ContextVar("progress listener")
_NOBODY = Nobody()


def listener() -> Listener:
    """The listener of this context."""
    return _LISTENER.get(_NOBODY)


def report(progress: Progress) -> None:
    """Tells this context's listener; it is the progress callback of every stage."""
    listener().update(progress)


@contextmanager
def listening(who: Listener) -> Iterator[None]:
    """`who` hears all stages within."""
    token = _LISTENER.set(who)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def stage(name: str, timings: MutableMapping[str, float] | None = None) -> Iterator[None]:
    """Announces the stage `name` and its end, and adds the seconds it took to `timings`."""
    who = listener()
    who.begin(name)
    started = time.monotonic()
    failed = True
    try:
        yield
        failed = False
    finally:
        seconds = time.monotonic() - started
        if timings is not None:
            timings[name] = round(timings.get(name, 0.0) + seconds, 3)
        who.end(name, seconds, failed)
