"""Distances between matched tensors, added up over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from autocast_core.diagnose.result import TensorDistance
from autocast_core.diagnose.sampled_values import Sample
from autocast_core.evaluate.sums.field_sums import largest, merge_fields

_ZERO_SCALE = 1e-3
"""What an error is compared with where the reference is 0 throughout."""


_INDICES = (np.dtype(np.int64), np.dtype(np.int32))


@dataclass
class DistanceSums:
    """Sums over the elements that were compared, in float64."""

    elements: int = 0
    error: float = 0.0
    energy: float = 0.0
    max_abs: float = largest(0.0)
    new_infinite: int = 0
    new_nan: int = 0
    vanished: int = 0
    reference_max: float = largest(0.0)
    nonfinite: bool = False
    sampled: bool = False

    def merge(self, other: DistanceSums) -> None:
        """Add what another batch gave."""
        merge_fields(self, other)

    @property
    def rel_l2(self) -> float:
        """The relative L2 error; infinite with new non-finite elements or another number of elements."""
        if self.nonfinite or not math.isfinite(self.error):
            return math.inf
        if self.error == 0.0:
            return 0.0
        if self.energy == 0.0:
            return min(1.0, math.sqrt(self.error / self.elements) / _ZERO_SCALE)
        return math.sqrt(self.error / self.energy)

    def result(self) -> TensorDistance:
        """The distance."""
        return TensorDistance(
            self.rel_l2,
            self.max_abs,
            self.elements,
            self.new_infinite,
            self.new_nan,
            self.vanished,
            self.reference_max,
            self.nonfinite,
            self.sampled,
        )


def distance(reference: Sample, candidate: Sample) -> DistanceSums:
    """The distance of one batch's samples, as `array_distance`."""
    sums = array_distance(reference.elements, candidate.elements)
    sums.nonfinite |= reference.finite and not candidate.finite
    sums.sampled = reference.sampled or candidate.sampled
    return sums


def array_distance(reference: np.ndarray, candidate: np.ndarray) -> DistanceSums:
    """The distance of two arrays, element by element in their order; infinite where their sizes differ.

    Of indices and booleans the error is how many are unequal: rel_l2 is then the root of their share.
    """
    if reference.size != candidate.size:
        return DistanceSums(max(reference.size, candidate.size), math.inf, max_abs=math.inf)
    if reference.dtype.kind == "b" or reference.dtype in _INDICES:
        unequal = int(np.count_nonzero(reference.reshape(-1) != candidate.reshape(-1)))
        return DistanceSums(reference.size, float(unequal), float(reference.size), float(unequal > 0))
    with np.errstate(all="ignore"):
        left, right = reference.reshape(-1).astype(np.float64), candidate.reshape(-1).astype(np.float64)
        error = np.abs(left - right)
        new_infinite = new_nan = 0
        a, b = left, right
        # Pairwise summation; BLAS would start threads for products of so few elements.
        if not math.isfinite(float(error.sum())):
            known = np.isfinite(left)
            finite = known & np.isfinite(right)
            new_infinite = int(np.count_nonzero(known & np.isinf(right)))
            new_nan = int(np.count_nonzero(np.isnan(right) & ~np.isnan(left)))
            a, b = left[finite], right[finite]
            error, left = np.abs(a - b), left[known]
        return DistanceSums(
            reference.size,
            float((error * error).sum()),
            float((a * a).sum()),
            float(error.max(initial=0.0)),
            new_infinite,
            new_nan,
            int(np.count_nonzero((b == 0.0) & (a != 0.0))),
            float(np.abs(left).max(initial=0.0)),
            new_infinite + new_nan > 0,
        )
