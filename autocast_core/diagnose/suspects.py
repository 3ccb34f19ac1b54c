"""The segments whose own error is worth measuring: all of a small model, those where the error jumps in a large one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.diagnose.culprits.culprit_kinds import differences
from autocast_core.diagnose.error_shares import MeasuredErrors, unit_rounding
from autocast_core.diagnose.matching.segments import MatchedSegment

_ALL_ELEMENTS = 1 << 24
_MOST, _RUINED = 20, 8
_UNKNOWN = 1 << 20
_GROWS, _ELSE = 1.5, 10.0


def suspects(
    reference: ir.Model,
    segments: Sequence[MatchedSegment],
    measured: MeasuredErrors,
    diverging: Sequence[ir.Value],
    feeds: Mapping[str, np.ndarray],
) -> list[MatchedSegment]:
    """The segments to measure, in graph order: all where their tensors have at most 2^24 elements together, else at
    most 28: by how far the error exceeds that of what they read, and the first with infinity or NaN; none of a large
    model whose outputs agree."""
    usable = [each for each in segments if each.value in measured.distances and each.fed and _can_be_fed(each)]
    sizes = sizes_of(reference, feeds).counts
    tensors = {value for each in usable for value in (each.reference, *each.fed.values())}
    if sum(sizes.get(str(value.name), _UNKNOWN) for value in tensors) <= _ALL_ELEMENTS:
        return usable
    if not diverging:
        return []
    scores = {each.value: _score(each, measured) for each in usable}
    best = sorted(usable, key=lambda each: -scores[each.value])[:_MOST]
    ruined = [each for each in usable if measured.distances[each.value].nonfinite][:_RUINED]
    chosen = {each.value for each in (*best, *ruined)}
    return [each for each in usable if each.value in chosen]


def _can_be_fed(segment: MatchedSegment) -> bool:
    """Whether the reference's values can be given as what the candidate reads: floats are no integers."""
    pairs = segment.fed.items()
    return all(_is_float(value) or not _is_float(reference) for value, reference in pairs)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _score(segment: MatchedSegment, measured: MeasuredErrors) -> float:
    """How much larger the error is than what came in; more where the candidate computes something else. Weights are
    read and compared only where the error grows."""
    floor = unit_rounding(segment.value.dtype)
    error, came = measured.error(segment.value), max(measured.came_in(segment), floor)
    grown = error / came
    return grown * (_ELSE if differences(segment, weights=grown >= _GROWS) else 1.0)
