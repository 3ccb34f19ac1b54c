"""Which batches lie in which files, so that several processes can each read some of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
        names: list[str] = []
        begin = skipped = 0
        for name, count in zip(self.files, self.counts, strict=True):
            if begin < stop and begin + count > start:
                if not names:
                    skipped = start - begin
                names.append(name)
            begin += count
        return FileSpan(tuple(names), skipped, min(stop, begin) - start)
