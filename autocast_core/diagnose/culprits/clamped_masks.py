"""Additive masks at a culprit: a large negative number that 16 bits do not hold, and what the candidate has for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocast_core.precision import Precision

_LIMIT = -Precision.FP16.max
_MASKS = -1e3
_ELSE = 0.5


@dataclass(frozen=True)
class MaskNumbers:
    """The number that masks in the reference, and the candidate's in its place, -inf where that overflowed."""

    reference: float
    candidate: float


def mask_numbers(expected: np.ndarray, found: np.ndarray) -> MaskNumbers | None:
    """The numbers of a mask in two tensors of the same elements: the reference's is one negative number beyond FP16's
    range, the candidate's one of -1,000 or less, and most of the error is there. None where this is no such mask."""
    left, right = expected.reshape(-1), found.reshape(-1)
    if left.size != right.size or left.dtype.kind != "f":
        return None
    masked = left < _LIMIT
    if not masked.any():
        return None
    ours, theirs = (each[masked].astype(np.float64) for each in (left, right))
    if np.isnan(theirs).any() or ours.min() != ours.max() or theirs.min() != theirs.max() or theirs[0] > _MASKS:
        return None
    a, b = (each[~masked].astype(np.float64) for each in (left, right))
    with np.errstate(all="ignore"):
        rest = float(np.sum((a - b) ** 2))
        if ours[0] == theirs[0] or not rest <= _ELSE * float(np.sum(a**2)):
            return None
    return MaskNumbers(float(ours[0]), float(theirs[0]))
