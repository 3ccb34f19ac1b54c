"""What calibration knows of a tensor: its range, and how it fares when it is rounded to 16 bits.

`TensorStats.merge` and `Statistics.merge` are associative and commutative (sums of squares up to float64 rounding), so
batches, chunks and shards may be measured apart and in any order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.errors import DataError
from autocast_core.json_values import lossless

Origin = Literal["calibration", "random", "none"]
_ORIGINS: tuple[Origin, ...] = ("none", "random", "calibration")


FEWEST_BATCHES = 4
"""Batches from which on an extreme beyond them is estimated."""
MORE_DATA = 100
"""How many times as many batches as were seen the estimated extreme is of."""


@dataclass(frozen=True)
class TensorStats:
    """Counts, range and 16-bit behaviour of one float tensor over everything that was seen of it.

    `min` and `max` are over all elements that are not NaN (inf and -inf where there are none); `nonfinite` counts NaN,
    inf and -inf. The fields from `nonzero` on are measured for FP16 only (None otherwise: BF16 has FP32's exponents, so
    nothing becomes small) and over the `examined` elements: every element of a tensor of at most 4,096 and of every
    weight, an evenly spaced sample of larger activations. They leave out NaN, inf and what lies beyond the low type's
    range, which the range rules judge:

    - `underflow`: nonzero elements that round to zero;
    - `subnormal`: nonzero elements below the smallest normal number of the low type, `underflow` included;
    - `sum_squares`: of x;
    - `rounding_sum_squares`: of x - round(x), round being round-to-nearest-even.

    The last three are of activations: the number of batches, the sum of their largest magnitudes and of its squares.
    """

    count: int
    min: float
    max: float
    nonfinite: int = 0
    nonzero: int | None = None
    underflow: int | None = None
    subnormal: int | None = None
    sum_squares: float | None = None
    rounding_sum_squares: float | None = None
    examined: int | None = None
    batches: int | None = field(default=None, compare=False)
    extreme_sum: float | None = field(default=None, compare=False)
    extreme_squares: float | None = field(default=None, compare=False)

    @property
    def absmax(self) -> float:
        """The largest magnitude; 0.0 for a tensor without any number."""
        return max(abs(self.min), abs(self.max)) if self.min <= self.max else 0.0

    @property
    def estimated_absmax(self) -> float | None:
        """The largest magnitude to expect in MORE_DATA times as many batches; None of fewer than FEWEST_BATCHES.

        The largest magnitudes m of n batches are taken for a sample of a Gumbel distribution, whose scale the method of
        moments gives: β = s·√6/π, with s their standard deviation. The largest of N such is mean(m) + β·ln N to be
        expected (Gumbel, Statistics of Extremes, 1958). It is at least `absmax`; batches of several shapes count alike.
        """
        n = self.batches or 0
        if n < FEWEST_BATCHES or self.extreme_sum is None or self.extreme_squares is None:
            return None
        mean = self.extreme_sum / n
        deviation = math.sqrt(max(self.extreme_squares / n - mean**2, 0.0) * n / (n - 1))
        scale = deviation * math.sqrt(6.0) / math.pi
        return max(self.absmax, mean + scale * math.log(n * MORE_DATA))

    @property
    def root_mean_square(self) -> float | None:
        """Of the examined elements; None where it was not measured, as of large weights without a subnormal element."""
        if self.sum_squares is None or not self.examined:
            return None
        return math.sqrt(self.sum_squares / self.examined)

    @property
    def rounding_error(self) -> float | None:
        """Relative L2 of rounding the tensor to FP16: sqrt(sum (x - round x)^2 / sum x^2).

        None where nothing is known, 0.0 for an all-zero tensor. Where only the counts were measured, the most that they
        and `absmax` allow: rounding to nearest costs a normal number at most 2^-11 of itself and a smaller one at most
        2^-25 (IEEE 754 binary16), and the norm is at least `absmax`. So it is for a sample too, which may miss the few
        large elements that carry a tensor's norm.
        """
        if self.subnormal is None or self.examined is None:
            return None
        if not self.nonzero:
            return 0.0
        norm = self.sum_squares or 0.0
        if self.sum_squares is None or self.examined < self.count:
            norm = max(norm, self.absmax**2 * self.examined / self.count)
        if self.rounding_sum_squares is not None:
            return math.sqrt(self.rounding_sum_squares / norm) if norm else 1.0
        return math.sqrt(2.0**-22 + self.subnormal * 2.0**-50 / norm) if norm else 1.0

    @property
    def underflow_share(self) -> float | None:
        """The share of nonzero elements that round to zero; None where it was not measured."""
        if self.nonzero is None or self.underflow is None:
            return None
        return self.underflow / self.nonzero if self.nonzero else 0.0

    def without_small_values(self) -> TensorStats:
        """What is known without the fields that are measured for FP16 alone."""
        return TensorStats(self.count, self.min, self.max, self.nonfinite)

    def merge(self, other: TensorStats) -> TensorStats:
        """The statistics of both sets of elements together. A quantity that one side lacks is the other's."""
        return TensorStats(
            count=self.count + other.count,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
            nonfinite=self.nonfinite + other.nonfinite,
            nonzero=_sum(self.nonzero, other.nonzero),
            underflow=_sum(self.underflow, other.underflow),
            subnormal=_sum(self.subnormal, other.subnormal),
            sum_squares=_sum(self.sum_squares, other.sum_squares),
            rounding_sum_squares=_sum(self.rounding_sum_squares, other.rounding_sum_squares),
            examined=_sum(self.examined, other.examined),
            batches=_sum(self.batches, other.batches),
            extreme_sum=_sum(self.extreme_sum, other.extreme_sum),
            extreme_squares=_sum(self.extreme_squares, other.extreme_squares),
        )

    def as_batch(self) -> TensorStats:
        """The same as what one batch has shown, unless it holds NaN or infinity, of which there is no extreme."""
        if self.nonfinite or self.min > self.max:
            return self
        return replace(self, batches=1, extreme_sum=self.absmax, extreme_squares=self.absmax**2)

    def times(self, factor: float) -> TensorStats:
        """The statistics of the elements times a positive `factor`.

        Exact for a power of two, but that what becomes or was small stays as it was counted.
        """
        squares = factor * factor
        return replace(
            self,
            min=self.min * factor,
            max=self.max * factor,
            sum_squares=_product(self.sum_squares, squares),
            rounding_sum_squares=_product(self.rounding_sum_squares, squares),
            extreme_sum=_product(self.extreme_sum, factor),
            extreme_squares=_product(self.extreme_squares, squares),
        )

    @staticmethod
    def of(array: np.ndarray, precision: Precision, *, small: bool = True) -> TensorStats:
        """The statistics of `array` (any shape, any float type), every element examined.

        Small-value quantities are measured if `precision` is FP16, unless `small` is False.
        """
        values = np.asarray(array).reshape(-1)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float32)
        low, high, nonfinite = value_range(values)
        fields = small_values(values, precision) if small and precision is Precision.FP16 else {}
        return TensorStats(count=values.size, min=low, max=high, nonfinite=nonfinite, **fields)


StatsOf = Callable[[ir.Value | None], TensorStats | None]
"""Gives the statistics of a value; None where there are none."""

EMPTY = TensorStats(count=0, min=math.inf, max=-math.inf)


def value_range(values: np.ndarray) -> tuple[float, float, int]:
    """(min, max, nonfinite) of a flat float array as TensorStats defines them."""
    if not values.size:
        return math.inf, -math.inf, 0
    low, high = float(values.min()), float(values.max())
    if math.isfinite(low) and math.isfinite(high):
        return low, high, 0
    numbers = values[~np.isnan(values)]
    nonfinite = int(values.size - np.count_nonzero(np.isfinite(values)))
    if not numbers.size:
        return math.inf, -math.inf, nonfinite
    return float(numbers.min()), float(numbers.max()), nonfinite


def small_values(values: np.ndarray, precision: Precision) -> dict[str, Any]:
    """The small-value fields of TensorStats for a flat float array, as keyword arguments."""
    magnitude = np.abs(values)
    with np.errstate(invalid="ignore"):
        inside = magnitude <= precision.max
    if not inside.all():
        values, magnitude = values[inside], magnitude[inside]
    rounded = values.astype(precision.numpy).astype(values.dtype)
    nonzero = int(np.count_nonzero(values))
    difference = (values - rounded).astype(np.float64)
    wide = values.astype(np.float64)
    return {
        "nonzero": nonzero,
        "underflow": nonzero - int(np.count_nonzero(rounded)),
        "subnormal": nonzero - int(np.count_nonzero(magnitude >= precision.smallest_normal)),
        "sum_squares": float(np.dot(wide, wide)),
        "rounding_sum_squares": float(np.dot(difference, difference)),
        "examined": int(inside.size),
    }


def _sum(left: Any, right: Any) -> Any:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _product(quantity: float | None, factor: float) -> float | None:
    return None if quantity is None else quantity * factor


@dataclass(frozen=True)
class Statistics:
    """What calibration knows of a model: per value name its TensorStats, and where the numbers come from.

    `digest` identifies the data (several, joined by ``+``, after a merge of shards); `backend` is what executed the
    model; `skipped` says why there are no statistics where `origin` is ``none``, else of what there are none.
    """

    tensors: Mapping[str, TensorStats] = field(default_factory=dict)
    batches: int = 0
    origin: Origin = "none"
    digest: str | None = None
    backend: str | None = None
    skipped: str | None = None
    first_nonfinite: str | None = None

    def elements(self, value: ir.Value) -> int | None:
        """How many elements `value` has in a batch: counted, else of its static shape; None where neither tells."""
        found = self.tensors.get(value.name or "")
        if found is not None and found.batches:
            return found.count // found.batches
        return math.prod(value.shape.numpy()) if value.shape is not None and value.shape.is_static() else None

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both shards together."""
        names = [*self.tensors, *(name for name in other.tensors if name not in self.tensors)]
        return Statistics(
            tensors={name: self.tensors.get(name, EMPTY).merge(other.tensors.get(name, EMPTY)) for name in names},
            batches=self.batches + other.batches,
            origin=max(self.origin, other.origin, key=_ORIGINS.index),
            digest=_union(self.digest, other.digest),
            backend=_union(self.backend, other.backend),
            skipped=_union(self.skipped, other.skipped, "; "),
            first_nonfinite=min((each for each in (self.first_nonfinite, other.first_nonfinite) if each), default=None),
        )

    def rescaled(self, sources: Mapping[str, tuple[str, float]]) -> Statistics:
        """These of a graph in which the values in `sources` hold the numbers of another value of this one, times a
        factor."""
        known = {
            name: self.tensors[source].times(factor)
            for name, (source, factor) in sources.items()
            if source in self.tensors
        }
        return replace(self, tensors={**self.tensors, **known})

    def to_json(self) -> str:
        """Canonical JSON (sorted keys); infinite bounds are written as the strings "inf" and "-inf"."""
        raw = asdict(self)
        raw["tensors"] = {name: _encoded(stats) for name, stats in raw["tensors"].items()}
        return json.dumps(raw, sort_keys=True, indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> Statistics:
        """The statistics that `to_json` wrote. DataError where it is not such a text."""
        try:
            raw = json.loads(text)
            tensors = {name: TensorStats(**_decoded(stats)) for name, stats in raw.pop("tensors").items()}
            return Statistics(tensors=tensors, **raw)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"the calibration statistics cannot be read: {error!r}; calibrate again") from error


def _union(left: str | None, right: str | None, separator: str = "+") -> str | None:
    parts = {part for text in (left, right) if text for part in text.split(separator)}
    return separator.join(sorted(parts)) or None


def _encoded(stats: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: lossless(value) if isinstance(value, float) else value for key, value in stats.items() if value is not None
    }


def _decoded(stats: Mapping[str, Any]) -> dict[str, Any]:
    return {key: float(value) if isinstance(value, str) else value for key, value in stats.items()}
