"""Judging arrays as if two models had given them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from autocast_core.evaluate.judges import Judged, JudgeTally, parse_judge

Arrays = Mapping[str, np.ndarray]


def judged(
    text: str, expected: Arrays, found: Arrays | None = None, labels: np.ndarray | None = None, batches: int = 1
) -> Judged:
    """What the judge that `text` says finds: both models' outputs, cut into batches along their first dimensions."""
    tally = JudgeTally(parse_judge(text), labels)
    candidate = expected if found is None else found
    parts = [[np.array_split(array, batches) for array in each.values()] for each in (expected, candidate)]
    for number in range(batches):
        tally.add(list(expected), *([array[number] for array in each] for each in parts))
    result = tally.result()
    assert result is not None
    return result


def values(
    text: str, expected: Arrays, found: Arrays | None = None, labels: np.ndarray | None = None, batches: int = 1
) -> dict[str, float]:
    """The metrics alone."""
    return dict(judged(text, expected, found, labels, batches).values)
