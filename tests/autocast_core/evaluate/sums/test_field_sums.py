from __future__ import annotations

import math
from dataclasses import dataclass, field

from autocast_core.evaluate.sums.field_sums import largest, merge_fields, smallest


@dataclass
class Inner:
    count: int = 0

    def merge(self, other: Inner) -> None:
        merge_fields(self, other)


@dataclass
class Sums:
    option: int
    count: int = 0
    worst: float = largest(0.0)
    first: float = smallest(math.inf)
    seen: bool = False
    rows: list[int] = field(default_factory=list)
    inner: Inner = field(default_factory=Inner)


def test_each_field_is_joined_as_it_is_declared():
    ours = Sums(3, 2, 0.5, 7.0, False, [1], Inner(4))
    merge_fields(ours, Sums(3, 5, 0.25, 6.0, True, [2, 3], Inner(1)))
    assert ours == Sums(3, 7, 0.5, 6.0, True, [1, 2, 3], Inner(5))


def test_what_is_merged_stays_as_it_was():
    theirs = Sums(3, 5, rows=[2])
    merge_fields(Sums(3, rows=[1]), theirs)
    assert theirs == Sums(3, 5, rows=[2])
