"""Sums of floats that do not depend on the order of what is added."""

from __future__ import annotations

import math

_BITS = 1074
"""Every finite float64 is a multiple of 2^-1074."""


class ExactSum:
    """The exact sum of everything added so far, as an integer multiple of the smallest float64."""

    def __init__(self) -> None:
        self._multiple = 0
        self._nonfinite = 0.0

    def add(self, value: float) -> None:
        """Add any float; NaN and infinities make the sum what they make any sum."""
        if not math.isfinite(value):
            self._nonfinite += value
            return
        numerator, denominator = value.as_integer_ratio()
        self._multiple += numerator << (_BITS + 1 - denominator.bit_length())

    def merge(self, other: ExactSum) -> None:
        """Add what `other` has seen."""
        self._multiple += other._multiple
        self._nonfinite += other._nonfinite

    @property
    def value(self) -> float:
        """The sum, rounded once to float64."""
        if self._nonfinite:
            return self._nonfinite
        try:
            return self._multiple / (1 << _BITS)
        except OverflowError:
            return math.inf if self._multiple > 0 else -math.inf
