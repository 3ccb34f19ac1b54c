"""Tracing the outputs' error back to where it arises, from what was measured at every matched tensor.

From the outputs backwards each tensor's share of the error is split between the tensor itself and the tensors that it
is computed from: its own error takes the part own^2 / error^2, the rest goes to the inputs in proportion to the
squares of their relative errors. That is exact where errors are independent and small (the usual model of quantization
noise: Widrow, Kollar, Quantization Noise, 2008, ch. 4) and an estimate elsewhere; NaN and infinity count as an error
that no finite one outweighs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.diagnose.distances import DistanceSums
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.own_errors import OwnError
from autocast_core.number_formats import precision_of
from autocast_core.precision import Precision

INFINITE = 1e6
"""What an infinite error counts as."""
_ROUNDING_STEPS = 8.0
"""Up to how many roundings an input's error counts as rounding alone."""
_AMPLIFIES = 4.0


@dataclass(frozen=True)
class MeasuredErrors:
    """What is known of the worst batch: distances by the candidate's tensor, own errors where they were measured."""

    distances: Mapping[ir.Value, DistanceSums]
    own: Mapping[ir.Value, OwnError]

    def error(self, value: ir.Value) -> float:
        """The relative L2 error of `value`; 0 where it was not compared, as of an input."""
        return min(self.distances[value].rel_l2, INFINITE) if value in self.distances else 0.0

    def came_in(self, segment: MatchedSegment) -> float:
        """The largest relative error of what the segment reads."""
        return max((self.error(value) for value in segment.inputs), default=0.0)

    def is_amplified(self, segment: MatchedSegment) -> bool:
        """Whether the rounding of the inputs alone makes most of the segment's error."""
        own = self.own.get(segment.value)
        if own is None or not _exceeds(own.rounded.rel_l2, _AMPLIFIES * own.exact.rel_l2):
            return False
        return all(self.error(value) <= _ROUNDING_STEPS * unit_rounding(value.dtype) for value in segment.inputs)

    def own_error(self, segment: MatchedSegment) -> float:
        """The error that arises in the segment; where it was not measured, its error if no input has half of it."""
        own = self.own.get(segment.value)
        if own is None:
            error = self.error(segment.value)
            return error if self.came_in(segment) < error / 2 else 0.0
        return min(own.rounded.rel_l2 if self.is_amplified(segment) else own.exact.rel_l2, INFINITE)


def unit_rounding(dtype: ir.DataType | None) -> float:
    """The unit roundoff of a precision's element type; FP32's for other types."""
    precision = None if dtype is None else precision_of(dtype)
    return (precision or Precision.FP32).unit_roundoff


def error_shares(
    segments: Sequence[MatchedSegment], measured: MeasuredErrors, outputs: Mapping[ir.Value, float]
) -> dict[ir.Value, float]:
    """By the candidate's tensor the part of the error of `outputs` that arises at it; the parts add up to 1.

    `outputs` are the candidate's output tensors with the weight that each has.
    """
    waiting = {value: weight for value, weight in outputs.items() if weight > 0.0}
    total = sum(waiting.values()) or 1.0
    found: dict[ir.Value, float] = {}
    for segment in reversed(segments):
        share = waiting.pop(segment.value, 0.0)
        if not share:
            continue
        error, own = measured.error(segment.value), measured.own_error(segment)
        part = 1.0 if own >= error else (own / error) ** 2
        came = {value: measured.error(value) ** 2 for value in segment.inputs}
        if error >= INFINITE and max(came.values(), default=0.0) >= INFINITE**2:
            part = 0.0  # exact inputs would overflow here too, but they did before
        whole = sum(came.values())
        if not whole:
            part = 1.0
        found[segment.value] = found.get(segment.value, 0.0) + share * part / total
        for value, square in came.items():
            if whole and part < 1.0:
                waiting[value] = waiting.get(value, 0.0) + share * (1.0 - part) * square / whole
    return found


def _exceeds(value: float, limit: float) -> bool:
    return value > limit or value == float("inf") != limit
