"""Which batches lie in which files, so that several processes can each read some of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class FileSpan:
    """Some of the data's files in order; of their batches the first `skipped` are left out, the next `count` taken."""

    files: tuple[str, ...]
    skipped: int
    count: int


@dataclass(frozen=True)
class FileLayout:
    """The names of the data's files in order, how many batches each holds, and the shapes of the first batch's arrays
    by input."""

    files: tuple[str, ...]
    counts: tuple[int, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return sum(self.counts)

    def span(self, start: int, stop: int) -> FileSpan:
        """The files that hold the batches from number `start` to before `stop`."""
        ends = self._ends
        stop = min(stop, ends[-1])
        first, last = bisect_right(ends, start), bisect_left(ends, stop)
        skipped = start - (ends[first] - self.counts[first])
        return FileSpan(self.files[first : last + 1], skipped, stop - start)

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(self.counts))
