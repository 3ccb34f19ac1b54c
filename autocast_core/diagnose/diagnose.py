"""Diagnosing a candidate: matching, two streamed passes, and the worst batch once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from autocast_core.data import Batches
from autocast_core.diagnose.culprits.ranked_culprits import WorstBatch, begins, find_culprits, swallowed
from autocast_core.diagnose.distances import DistanceSums, distance
from autocast_core.diagnose.error_shares import MeasuredErrors
from autocast_core.diagnose.matching.by_numbers import match_by_numbers, unmatched_values
from autocast_core.diagnose.matching.by_structure import Matching, ValueMatcher, matcher_of
from autocast_core.diagnose.matching.operand_likeness import is_constant, passes_on
from autocast_core.diagnose.matching.prepared import Interfaces, paired_interfaces, prepared
from autocast_core.diagnose.matching.segments import MatchedSegment, segments
from autocast_core.diagnose.own_errors import Feeds, ReferenceValues, own_errors, reference_values
from autocast_core.diagnose.result import Diagnosis, MatchedTensor, OutputDistance
from autocast_core.diagnose.sampled_values import SampledModel, is_measurable, sampled_model
from autocast_core.diagnose.simulated_form import simulated_form
from autocast_core.diagnose.suspects import suspects
from autocast_core.errors import ModelError
from autocast_core.evaluate.default_gates import SQNR_DB
from autocast_core.graph.walk import main_graph_id
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime
from autocast_core.simulate import Accumulate

_FP32_TOLERANCE = 60.0
"""In dB, of a candidate without 16-bit types; of others the default gates' ratio for the coarsest type."""
_UNEQUAL = 0.05
"""The share of indices or booleans of an output that may be unequal."""


def diagnose(
    reference: ir.Model,
    candidate: ir.Model,
    batches: Batches,
    runtime: Runtime,
    *,
    mapped: Mapping[str, str] = MappingProxyType({}),
    tolerance_db: float | None = None,
    accumulate: Accumulate = Accumulate.FP32,
    progress: ProgressCallback = silent,
) -> Diagnosis:
    """Where and why `candidate` gives other numbers than `reference` over `batches`, which fit the reference's inputs.

    16-bit types are simulated: stored in 16 bits, computed in FP32 or as `accumulate` says (a bound, then). `mapped`
    names inputs, outputs and tensors of the candidate by the reference's; `tolerance_db` is the least SQNR of a float
    output (None: 40 with FP16, 22 with BF16, else 60). Neither model is changed.

    Raises ModelError where inputs differ or nothing matches, ConfigError for names in `mapped` that do not exist,
    DataError where the data does not fit, BackendError where a model does not run.
    """
    pair = _Pair.of(prepared(reference), prepared(candidate), mapped, runtime, accumulate)
    passes = _match_numbers(pair, batches)
    found = _distances(pair, batches, progress)
    outputs = _outputs(pair, found, tolerance_db)
    parts = segments(pair.matching)
    diverging = [(value, each) for value, each in outputs if each.diverges]
    measured, values = _own_errors(pair, parts, found, diverging)
    theirs = {str(value.name): values.arrays[each.reference] for value, each in diverging} if diverging else {}
    error = max((measured.error(value) for value, _ in diverging), default=0.0)
    batch = WorstBatch(pair.matching.reference, pair.simulated, pair.feeds(found.feeds), theirs, error, runtime)
    tensors = _tensors(pair, parts, found, measured)
    first = next((each for each in tensors if not each.distance.rel_l2 <= outputs[0][1].tolerance), None)
    unmatched = _unmatched(pair.matching, parts)
    return Diagnosis(
        outputs=tuple(each for _, each in outputs),
        tensors=tensors,
        culprits=find_culprits(parts, measured, values, diverging, batch),
        first_divergence=None if first is None else first.candidate,
        begins=begins(parts, measured),
        swallowed=swallowed(parts, measured),
        unmatched_reference=unmatched[0],
        unmatched_candidate=unmatched[1],
        matched_by=dict(Counter(each.matched_by for each in tensors)),
        data=batches.origin,
        batches=len(batches),
        worst_batch=found.worst,
        passes=passes + 1,
        backend=f"simulation-{found.backend}",
        batch=dict(found.feeds),
    )


@dataclass(frozen=True)
class _Pair:
    """Both models: as they are matched, and as they are run (`exact` and `simulated`, with the same names)."""

    matcher: ValueMatcher
    interfaces: Interfaces
    exact: ir.Model
    simulated: ir.Model
    runtime: Runtime

    @staticmethod
    def of(
        reference: ir.Model, candidate: ir.Model, mapped: Mapping[str, str], runtime: Runtime, accumulate: Accumulate
    ) -> _Pair:
        interfaces = paired_interfaces(reference, candidate, mapped)
        matcher = matcher_of(reference, candidate, interfaces, mapped)
        matcher.run()
        return _Pair(matcher, interfaces, simulated_form(reference), simulated_form(candidate, accumulate), runtime)

    @property
    def matching(self) -> Matching:
        return self.matcher.matching

    def feeds(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """What the candidate is fed where the reference is fed `feeds`."""
        types = {str(value.name): value.dtype for value in self.simulated.graph.inputs}
        found = {}
        for ours, theirs in self.interfaces.inputs.items():
            array, dtype = feeds[ours], types[theirs]
            plain = isinstance(array, np.ndarray) and dtype is not None and dtype.is_integer()
            found[theirs] = array.astype(dtype.numpy()) if plain and dtype is not None else array
        return found

    def compared(self) -> dict[ir.Value, ir.Value]:
        """The matched values that nodes of the candidate make and that can be compared."""
        made = ((v, r) for v, r in self.matching.of.items() if v.producer() is not None)
        return {v: r for v, r in made if v.name and is_measurable(r) and is_measurable(v)}


@dataclass
class _Found:
    """What the pass over all batches found: sums of all; of the worst batch the sums, what it was fed, and the
    reference's outputs."""

    total: dict[ir.Value, DistanceSums] = field(default_factory=dict)
    at_worst: dict[ir.Value, DistanceSums] = field(default_factory=dict)
    feeds: Feeds = field(default_factory=dict)
    outputs: Feeds = field(default_factory=dict)
    worst: int = 0
    backend: str = ""


def _match_numbers(pair: _Pair, batches: Batches) -> int:
    """Match by numbers what names and structure left, on the first batch; how many passes that was."""
    theirs, ours = unmatched_values(pair.matching)
    if not theirs or not ours:
        return 0
    feeds = next(iter(batches))
    with _sampling(pair, [str(v.name) for v in ours], [str(v.name) for v in theirs]) as (reference, candidate):
        left, right = reference.run(feeds), candidate.run(pair.feeds(feeds))
    found = match_by_numbers(
        pair.matching,
        {value: right[str(value.name)] for value in theirs},
        {value: left[str(value.name)] for value in ours},
    )
    if found:
        pair.matcher.run()
    return 1


@contextmanager
def _sampling(
    pair: _Pair, ours: Sequence[str], theirs: Sequence[str], kept: Collection[str] = ()
) -> Iterator[tuple[SampledModel, SampledModel]]:
    with (
        sampled_model(pair.exact, ours, pair.runtime, kept) as reference,
        sampled_model(pair.simulated, theirs, pair.runtime) as candidate,
    ):
        yield reference, candidate


def _distances(pair: _Pair, batches: Batches, progress: ProgressCallback) -> _Found:
    """The distances of all compared tensors over all batches, and of the worst batch."""
    compared = pair.compared()
    if not compared:
        raise ModelError(
            "no tensor of the candidate matches one of the reference: tried names, operators with their inputs and"
            " weights, and the numbers of the first batch; give two forms of one model, or --map REFERENCE=CANDIDATE"
        )
    ours = list(dict.fromkeys(str(value.name) for value in compared.values()))
    outputs = [value for value in pair.matching.candidate.graph.outputs if value in compared]
    found, worst = _Found(), -1.0
    kept = {str(compared[value].name) for value in outputs}
    with _sampling(pair, ours, [str(value.name) for value in compared], kept) as (reference, candidate):
        for number, feeds in enumerate(batches):
            progress(Progress("diagnose", number, len(batches), "batches"))
            left, right = reference.run(feeds), candidate.run(pair.feeds(feeds))
            here = {v: distance(left[str(r.name)], right[str(v.name)]) for v, r in compared.items()}
            for value, sums in here.items():
                found.total.setdefault(value, DistanceSums()).merge(sums)
            error = sum(min(here[value].rel_l2, 1e9) for value in outputs)
            if error > worst:
                worst = error
                found.at_worst, found.feeds, found.worst = here, dict(feeds), number
                found.outputs = dict(reference.arrays)
        found.backend = candidate.backend
    progress(Progress("diagnose", len(batches), len(batches), "batches"))
    return found


def _outputs(pair: _Pair, found: _Found, tolerance_db: float | None) -> list[tuple[ir.Value, OutputDistance]]:
    types = {v.dtype for n in pair.matching.candidate.graph for v in n.outputs} | {
        v.dtype for v in pair.matching.candidate.graph.inputs
    }
    known = (limit for precision, limit in SQNR_DB.items() if precision.dtype in types)
    default = min(known, default=_FP32_TOLERANCE)
    limit = 10.0 ** (-(default if tolerance_db is None else tolerance_db) / 20.0)
    ours = {theirs: name for name, theirs in pair.interfaces.outputs.items()}
    rows = []
    for value in pair.matching.candidate.graph.outputs:
        if value not in found.total or str(value.name) not in ours:
            continue
        categorical = value.dtype is not None and not value.dtype.is_floating_point()
        tolerance = float(np.sqrt(_UNEQUAL)) if categorical else limit
        name = ours[str(value.name)]
        rows.append((value, OutputDistance(str(value.name), name, found.total[value].result(), tolerance)))
    if not rows:
        raise ModelError("no output of the models can be compared: give models with tensors of numbers as outputs")
    return rows


def _own_errors(
    pair: _Pair, parts: Sequence[MatchedSegment], found: _Found, diverging: Sequence[tuple[ir.Value, OutputDistance]]
) -> tuple[MeasuredErrors, ReferenceValues]:
    """What is measured on the worst batch, and the reference's whole tensors that this took."""
    distances = MeasuredErrors(found.at_worst, {})
    chosen = suspects(pair.exact, parts, distances, [value for value, _ in diverging], found.feeds)
    needed = [v for segment in chosen for v in (segment.reference, *segment.fed.values())]
    outputs = {str(value.name): value for value in pair.matching.reference.graph.outputs}
    needed += [outputs[each.reference] for _, each in diverging]
    values = reference_values(pair.exact, needed, found.feeds, pair.runtime, found.outputs)
    if not chosen:
        return distances, values
    own = own_errors(pair.simulated, chosen, values, pair.feeds(found.feeds), pair.runtime)
    return MeasuredErrors(found.at_worst, own), values


def _tensors(
    pair: _Pair, parts: Sequence[MatchedSegment], found: _Found, measured: MeasuredErrors
) -> tuple[MatchedTensor, ...]:
    rows = []
    for segment in parts:
        value = segment.value
        if value not in found.total:
            continue
        own = measured.own.get(value)
        rows.append(
            MatchedTensor(
                candidate=str(value.name),
                reference=str(segment.reference.name),
                matched_by=pair.matching.how[value],
                node=main_graph_id(segment.node),
                op_type=segment.node.op_type,
                dtype="" if value.dtype is None else value.dtype.name.lower(),
                distance=found.total[value].result(),
                came_in=measured.came_in(segment),
                own=None if own is None else own.exact.rel_l2,
                amplified=None if own is None else own.rounded.rel_l2,
            )
        )
    return tuple(rows)


def _unmatched(matching: Matching, parts: Sequence[MatchedSegment]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The nodes of reference and candidate that make no matched tensor and are in no segment of one."""
    ours = {node for segment in parts for node in segment.reference_nodes}
    theirs = {node for segment in parts for node in segment.nodes}
    return _left(matching.reference, ours), _left(matching.candidate, theirs)


def _left(model: ir.Model, known: set[ir.Node]) -> tuple[str, ...]:
    return tuple(
        main_graph_id(node)
        for node in model.graph
        if node not in known
        and node.op_type != "Constant"
        and not passes_on(node)
        and not all(is_constant(value) for value in node.inputs if value is not None)
    )
