"""Percentiles of absolute errors, counted in constant memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PERCENTILES = {"p50_abs": 0.5, "p90_abs": 0.9, "p99_abs": 0.99, "p999_abs": 0.999}
"""By the name in metrics, the share of elements whose absolute error is at most that."""
_DROPPED_BITS = 16
_BINS = 1 << (31 - _DROPPED_BITS)


class AbsoluteErrors:
    """How many absolute errors fall into each bin: the bins are the non-negative bfloat16 numbers, so that a percentile
    is known within 0.4% of itself, whatever the scale."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)

    def add(self, errors: np.ndarray) -> None:
        """Count non-negative `errors`, of any float type; none is NaN."""
        if not errors.size:
            return
        with np.errstate(over="ignore", under="ignore"):
            bits = np.ascontiguousarray(errors, np.float32).view(np.uint32) >> _DROPPED_BITS
        if bits.size < _BINS:
            np.add.at(self._counts, bits, 1)
        else:
            self._counts += np.bincount(bits, minlength=_BINS)

    def add_infinite(self, count: int) -> None:
        """Count so many infinite errors."""
        self._counts[_bin(np.inf)] += count

    def merge(self, other: AbsoluteErrors) -> None:
        """Count what `other` counted."""
        self._counts += other._counts

    def percentiles(self, shares: Sequence[float]) -> list[float]:
        """For each share the smallest error that at least so many elements do not exceed (the middle of its bin); 0
        without any."""
        reached = np.cumsum(self._counts)
        if not reached[-1]:
            return [0.0] * len(shares)
        places = np.searchsorted(reached, np.ceil(np.asarray(shares) * reached[-1]))
        return [_middle(int(place)) for place in places]


def _bin(error: float) -> int:
    return int(np.float32(error).view(np.uint32)) >> _DROPPED_BITS


def _middle(place: int) -> float:
    if place in (0, _bin(np.inf)):
        return 0.0 if place == 0 else float("inf")
    return float(np.uint32((place << _DROPPED_BITS) + (1 << (_DROPPED_BITS - 1))).view(np.float32))
