"""Runs that need the same weights, side by side, so that one reading from disk serves them all.

What one run has just read lies in the page cache; the next finds it there as long as both are at about the same place
of the model. Each cuts its own graph: equal shares of the weights' bytes begin and end at about the same weights. What
all have been through is released: the system has seen it used most, and would rather let go of what was just read.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from autocast_core.runtime import Session

_LOG = logging.getLogger(__name__)


class Member(Protocol):
    """What goes through a model step by step."""

    @property
    def done(self) -> float:
        """The share of the model that it has been through, from 0 to 1."""
        ...

    def advance(self) -> None:
        """One more step."""
        ...

    def release(self, share: float) -> None:
        """Nobody needs any more, for now, what was read of the first `share` of the model."""
        ...


class Later:
    """A session that is opened when it is asked for or, where the lockstep it belongs to runs first, by that."""

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self._open_session = open_session
        self._session: Session | None = None
        self._failure: Exception | None = None

    def __call__(self) -> Session:
        """The session, opened once; raises what opening it raised."""
        if self._failure is not None:
            raise self._failure
        if self._session is None:
            self._session = self._open_session()
        return self._session

    @property
    def done(self) -> float:
        return float(self.is_open or self._failure is not None)

    @property
    def is_open(self) -> bool:
        return self._session is not None

    def advance(self) -> None:
        """Open it; a failure waits for whoever asks for the session."""
        try:
            self()
        except Exception as error:  # raised again where the session is asked for
            self._failure = error

    def release(self, share: float) -> None: ...

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


class Lockstep:
    """Goes on with whatever is furthest behind, until all have been through the model.

    A context: what is opened `later` is closed at its end.
    """

    def __init__(self) -> None:
        self.parts = 1
        """The most segments that a session in it has."""
        self._members: list[Member] = []
        self._later: list[Later] = []

    def __enter__(self) -> Lockstep:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for each in self._later:
            each.close()

    def join(self, member: Member, parts: int = 1) -> None:
        """Take `member` along, which has so many `parts`."""
        self._members.append(member)
        self.parts = max(self.parts, parts)

    def later(self, open_session: Callable[[], Session]) -> Later:
        """The session that `open_session` opens, which joins by itself where it runs in segments."""
        made = Later(open_session)
        self._members.append(made)
        self._later.append(made)
        return made

    def run(self) -> None:
        """All that have joined, to their ends. Raises what a member raises."""
        started, least = time.monotonic(), 0.0
        # The last to join goes first: of those that are still to be opened one at a time is in memory.
        while (behind := min(reversed(self._members), key=_done)).done < 1.0:
            if behind.done > least:
                least = behind.done
                left = (time.monotonic() - started) * (1.0 / least - 1.0)
                _LOG.info("%.0f%% of the segments done, about %.0f s left", 100.0 * least, left)
                for member in self._members:
                    member.release(least)
            behind.advance()
        self._members.clear()


def _done(member: Member) -> float:
    return member.done
