"""The culprits of a divergence: where its error arises, ranked by what fixing each does to the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from autocast_core.diagnose.culprits.culprit_kinds import explanation, kind_of
from autocast_core.diagnose.culprits.culprit_remedies import remedy_of
from autocast_core.diagnose.culprits.culprit_repairs import with_repairs
from autocast_core.diagnose.distances import DistanceSums, array_distance
from autocast_core.diagnose.error_shares import INFINITE, MeasuredErrors, error_shares
from autocast_core.diagnose.matching.segments import MatchedSegment
from autocast_core.diagnose.own_errors import ReferenceValues, fixed_outputs
from autocast_core.diagnose.result import Begins, Culprit, Kind, OutputDistance, Recorded, Swallowed
from autocast_core.errors import BackendError
from autocast_core.graph.walk import main_graph_id
from autocast_core.runtime import Runtime

_NAMED, _TRIED, _HIDDEN = 3, 5, 3
_LEAST_SHARE = 0.05
_WORST = 1e6
_MENDS, _MUCH = 0.5, 0.1
_MANY = 0.01


@dataclass(frozen=True)
class WorstBatch:
    """The worst batch: what the candidate is fed, its outputs in question with the reference's results, the largest
    relative error of these, the candidate as it is simulated, and the reference."""

    reference: ir.Model
    simulated: ir.Model
    feeds: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    error: float
    runtime: Runtime


def find_culprits(
    segments: Sequence[MatchedSegment],
    measured: MeasuredErrors,
    values: ReferenceValues,
    outputs: Sequence[tuple[ir.Value, OutputDistance]],
    batch: WorstBatch,
) -> tuple[Culprit, ...]:
    """The culprits of the error of `outputs`, those that diverge; the worst first. They are fixed alone on the
    worst batch, one after the other, until little is left."""
    if not outputs:
        return ()
    weights = {value: min(measured.error(value) / max(each.tolerance, 1e-9), _WORST) for value, each in outputs}
    shares = error_shares(segments, measured, weights)
    by_value = {segment.value: segment for segment in segments}
    gathered: dict[ir.Value, float] = {}
    for value, share in shares.items():
        start = _where_it_begins(by_value[value], by_value, measured)
        gathered[start.value] = gathered.get(start.value, 0.0) + share
    ranked = [v for v in sorted(gathered, key=lambda value: -gathered[value])[:_NAMED] if gathered[v] >= _LEAST_SHARE]
    ranked += [value for value in _hidden(segments, measured) if value not in ranked][:_HIDDEN]
    names = tuple(each.reference for _, each in outputs)
    culprits = [_culprit(by_value[value], measured, values, gathered.get(value, 0.0), names) for value in ranked]
    # A clamped mask has the largest error of all, and mostly changes nothing.
    culprits.sort(key=lambda culprit: culprit.kind is Kind.MASK)
    repeated = {c.candidate_value: _repeats(c.candidate_value, segments, measured) for c in culprits}
    return with_repairs(_by_effect(culprits, repeated, values, batch), segments, measured, batch.reference)


def begins(segments: Sequence[MatchedSegment], measured: MeasuredErrors) -> tuple[Begins, ...]:
    """Where infinity, NaN and vanished values begin: nodes whose inputs have none of it."""
    found = []
    for segment in segments:
        sums = measured.distances.get(segment.value)
        if sums is None:
            continue
        before = [measured.distances[v] for v in segment.inputs if v in measured.distances]
        ruined = any(each.nonfinite for each in before)
        faults = (
            (Kind.OVERFLOW, sums.new_infinite, ruined),
            (Kind.NAN, sums.new_nan, ruined),
            (Kind.UNDERFLOW, sums.vanished, ruined or not _many(sums) or any(_many(each) for each in before)),
        )
        found += [_begins(kind, segment, count) for kind, count, known in faults if count and not known]
    return tuple(found)


def swallowed(segments: Sequence[MatchedSegment], measured: MeasuredErrors) -> tuple[Swallowed, ...]:
    """The nodes into which infinity or NaN goes and out of which finite numbers come."""
    found = []
    for segment in segments:
        sums = measured.distances.get(segment.value)
        ruined = [v for v in segment.inputs if v in measured.distances and measured.distances[v].nonfinite]
        if sums is not None and ruined and not sums.nonfinite:
            name = str(segment.value.name)
            found.append(Swallowed(main_graph_id(segment.node), segment.node.op_type, name, str(ruined[0].name)))
    return tuple(found)


def _many(sums: DistanceSums) -> bool:
    """Whether so many elements vanished that this is more than single tiny ones, which always do."""
    return sums.vanished > _MANY * sums.elements


def _begins(kind: Kind, segment: MatchedSegment, count: int) -> Begins:
    return Begins(kind, main_graph_id(segment.node), segment.node.op_type, str(segment.value.name), count)


def _where_it_begins(
    segment: MatchedSegment, by_value: Mapping[ir.Value, MatchedSegment], measured: MeasuredErrors
) -> MatchedSegment:
    """Where an input that vanished makes NaN or infinity of a segment: what made it vanish; else the segment."""
    own = measured.own.get(segment.value)
    while own is not None and measured.is_amplified(segment) and own.rounded.nonfinite:
        lost = [v for v in segment.inputs if v in by_value and _vanishes(v, measured)]
        if not lost:
            break
        segment = by_value[lost[0]]
        own = measured.own.get(segment.value)
    return segment


def _vanishes(value: ir.Value, measured: MeasuredErrors) -> bool:
    sums = measured.distances.get(value)
    return sums is not None and sums.vanished > 0


def _culprit(
    segment: MatchedSegment, measured: MeasuredErrors, values: ReferenceValues, share: float, outputs: tuple[str, ...]
) -> Culprit:
    own = measured.own.get(segment.value)
    kind = kind_of(segment, measured, values)
    return Culprit(
        kind=kind,
        op_type=segment.node.op_type,
        candidate_nodes=tuple(map(main_graph_id, segment.nodes)),
        reference_nodes=tuple(map(main_graph_id, segment.reference_nodes)),
        candidate_value=str(segment.value.name),
        reference_value=str(segment.reference.name),
        own=measured.own_error(segment) if own is None else own.exact.rel_l2,
        amplified=measured.own_error(segment) if own is None else own.rounded.rel_l2,
        came_in=measured.came_in(segment),
        share=share,
        fixed=None,
        effect=None,
        outputs=outputs,
        explanation=explanation(kind, segment, measured, own),
        remedy=remedy_of(kind, segment),
        recorded=None
        if own is None
        else Recorded(
            {str(v.name): values.of(r) for v, r in segment.fed.items()}, values.of(segment.reference), own.found
        ),
    )


def _hidden(segments: Sequence[MatchedSegment], measured: MeasuredErrors) -> list[ir.Value]:
    """Tensors at which much error arises, the most first: what comes in, infinities and masks, may outweigh it."""
    found = []
    for segment in segments:
        own = measured.own.get(segment.value)
        if own is None or own.exact.rel_l2 < _MUCH:
            continue
        if not own.exact.nonfinite or measured.came_in(segment) < INFINITE:
            found.append((own.exact.rel_l2, segment.value))
    return [value for _, value in sorted(found, key=lambda each: -each[0])]


def _repeats(name: str, segments: Sequence[MatchedSegment], measured: MeasuredErrors) -> list[MatchedSegment]:
    """The segment of the tensor `name`, and those behind it that would make infinity of exact inputs, too."""
    found = [segment for segment in segments if segment.value.name == name]
    values = {segment.value for segment in found}
    for segment in segments:
        own = measured.own.get(segment.value)
        if own is not None and own.exact.nonfinite and values & set(segment.inputs):
            found.append(segment)
            values.add(segment.value)
    return found


def _by_effect(
    culprits: Sequence[Culprit],
    repeated: Mapping[str, Sequence[MatchedSegment]],
    values: ReferenceValues,
    batch: WorstBatch,
) -> tuple[Culprit, ...]:
    """The culprits, those first whose fixing takes away most of the error."""
    tried: list[Culprit] = []
    for culprit in culprits[:_TRIED]:
        tried.append(_fixed(culprit, repeated[culprit.candidate_value], values, batch))
        if _fixes(tried[-1]) and (tried[-1].fixed or 0.0) < _MUCH:
            break
    best = min(filter(_fixes, tried), key=lambda each: each.fixed or 0.0, default=None)
    first = [] if best is None else [best]
    return (*first, *_shared([each for each in (*tried, *culprits[len(tried) :]) if each is not best]))


def _fixes(culprit: Culprit) -> bool:
    """Whether fixing it takes away half of the error."""
    return culprit.effect is not None and culprit.effect >= _MENDS


def _shared(culprits: Sequence[Culprit]) -> list[Culprit]:
    """Those that have a share of the error."""
    return [each for each in culprits if each.share >= _LEAST_SHARE]


def _fixed(culprit: Culprit, parts: Sequence[MatchedSegment], values: ReferenceValues, batch: WorstBatch) -> Culprit:
    """The culprit with what its fixing does; as it is where that does not run."""
    known = [each for each in parts if str(each.reference.name) in values.arrays]
    given = {str(each.value.name): values.of(each.reference) for each in known}
    if culprit.candidate_value not in given:
        return culprit
    names = list(batch.outputs)
    try:
        found = fixed_outputs(batch.simulated, given, names, batch.feeds, batch.runtime)
    except BackendError:
        return culprit
    after = max(array_distance(batch.outputs[name], array).rel_l2 for name, array in zip(names, found, strict=True))
    effect = 1.0 - min(after, _WORST) / min(max(batch.error, 1e-30), _WORST)
    return replace(culprit, fixed=after, effect=max(0.0, effect))
