"""The edit distance of two sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def edit_distance(left: Sequence[int], right: Sequence[int]) -> int:
    """How many elements must be inserted, deleted or replaced to make `right` of `left` (Levenshtein, 1966).

    Time grows with the product of what is left of both after their common beginning and end.
    """
    start = next((n for n, pair in enumerate(zip(left, right, strict=False)) if pair[0] != pair[1]), None)
    if start is None:
        return abs(len(left) - len(right))
    rest, other = list(left[start:]), list(right[start:])
    while rest and other and rest[-1] == other[-1]:
        rest.pop()
        other.pop()
    columns = np.array(other, np.int64)
    steps = np.arange(len(other) + 1)
    row = steps
    for number, element in enumerate(rest, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (columns != element))
        # An insertion takes the cost from the left: a running minimum, once each place's own steps are taken off.
        row = np.minimum.accumulate(np.concatenate([[number], best]) - steps) + steps
    return int(row[-1])
