"""Adding up the results of instrumented runs; the same as merging TensorStats, for all tensors at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.model.rounding import half_magnitudes

_GROUP_ELEMENTS = 1 << 17  # half a megabyte stays in a core's cache
_SMALL = ("nonzero", "underflow", "subnormal", "sum_squares", "rounding_sum_squares", "examined")


class Accumulator:
    """Statistics of the tensors `names` over batches; each array has one entry a tensor."""

    def __init__(self, names: Sequence[str], *, small: bool) -> None:
        self.names = tuple(names)
        self._count = np.zeros(len(names), np.int64)
        self._min = np.full(len(names), np.inf)
        self._max = np.full(len(names), -np.inf)
        self._batches = np.zeros(len(names), np.int64)
        self._extremes = np.zeros((2, len(names)))
        self._small = {name: np.zeros(len(names)) for name in _SMALL} if small else None

    def add_ranges(self, which: np.ndarray, counts: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> None:
        """Elements counted and bounds seen in one batch, of the tensors at the indices `which`."""
        self._count[which] += counts
        self._min[which] = np.minimum(self._min[which], lowest)
        self._max[which] = np.maximum(self._max[which], highest)
        extremes = np.maximum(highest, -lowest).astype(np.float64)
        self._batches[which] += 1
        self._extremes[:, which] += extremes, extremes**2

    def add_small(self, which: np.ndarray, small: Mapping[str, np.ndarray]) -> None:
        """Small-value quantities of one batch, of the tensors at the indices `which`."""
        if self._small is not None:
            for name, values in small.items():
                self._small[name][which] += values

    def add_arrays(self, arrays: Sequence[np.ndarray], precision: Precision) -> list[int]:
        """One batch's elements, an array for each tensor; the indices of those that hold NaN or infinity and were left
        out are returned."""
        left: list[int] = []
        for part in segments(arrays):
            lowest = np.minimum.reduceat(part.values, part.starts)
            highest = np.maximum.reduceat(part.values, part.starts)
            finite = np.isfinite(lowest) & np.isfinite(highest)
            which = part.which[finite]
            self.add_ranges(which, part.lengths[finite], lowest[finite], highest[finite])
            if self._small is not None:
                columns = small_columns(part, precision)
                self.add_small(which, {name: values[finite] for name, values in columns.items()})
            left += part.which[~finite].tolist()
        return left

    def stats(self) -> dict[str, TensorStats]:
        """What was added up, by tensor name."""
        ranges = zip(self._count.tolist(), self._min.tolist(), self._max.tolist(), strict=True)
        seen = zip(self._batches.tolist(), *self._extremes.tolist(), strict=True)
        rows: Iterable[tuple[Any, ...]] = itertools.repeat((None,) * len(_SMALL), len(self.names))
        if self._small is not None:
            whole = ("nonzero", "underflow", "subnormal", "examined")
            columns = [
                (self._small[name].astype(np.int64) if name in whole else self._small[name]).tolist() for name in _SMALL
            ]
            rows = zip(*columns, strict=True)
        return {
            name: TensorStats(*found, 0, *row, *extremes)
            for name, found, row, extremes in zip(self.names, ranges, rows, seen, strict=True)
        }


@dataclass(frozen=True)
class Segments:
    """Several arrays behind one another: `which` are their indices, `starts` their offsets in `values`."""

    which: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def segments(arrays: Sequence[np.ndarray]) -> Iterator[Segments]:
    """`arrays` (any shapes, float) joined in groups of at most 131,072 elements, as float32; empty ones left out."""
    group: list[int] = []
    size = 0
    for index, array in enumerate(arrays):
        if not array.size:
            continue
        if group and size + array.size > _GROUP_ELEMENTS:
            yield _joined(arrays, group)
            group, size = [], 0
        group.append(index)
        size += array.size
    if group:
        yield _joined(arrays, group)


def _joined(arrays: Sequence[np.ndarray], group: Sequence[int]) -> Segments:
    lengths = np.array([arrays[index].size for index in group])
    with np.errstate(over="ignore"):
        values = np.concatenate([arrays[index].reshape(-1) for index in group]).astype(np.float32, copy=False)
    return Segments(np.array(group), values, np.cumsum(lengths) - lengths, lengths)


def small_columns(part: Segments, precision: Precision) -> dict[str, np.ndarray]:
    """The small-value fields of TensorStats, for FP16, for each segment."""
    magnitude = np.abs(part.values)
    with np.errstate(invalid="ignore"):
        inside = magnitude <= precision.max
    if not inside.all():
        magnitude = np.where(inside, magnitude, np.float32(0))
    rounded = half_magnitudes(magnitude)
    nonzero = _counts(magnitude > 0, part)
    return {
        "nonzero": nonzero,
        "underflow": nonzero - _counts(rounded > 0, part),
        "subnormal": nonzero - _counts(magnitude >= precision.smallest_normal, part),
        "sum_squares": _squares(magnitude, part),
        "rounding_sum_squares": _squares(magnitude - rounded, part),
        "examined": part.lengths,
    }


def _counts(mask: np.ndarray, part: Segments) -> np.ndarray:
    return np.add.reduceat(mask, part.starts, dtype=np.int64)


def _squares(values: np.ndarray, part: Segments) -> np.ndarray:
    """The sums of squares, in float64."""
    wide = values.astype(np.float64)
    return np.add.reduceat(np.multiply(wide, wide, out=wide), part.starts)
