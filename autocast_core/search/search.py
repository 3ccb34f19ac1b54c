"""From a model and budgets to the best plan, its certificate and the reasons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from msgspec import UNSET, structs

from autocast_core.calibrate import scan_weights
from autocast_core.config import Precision
from autocast_core.data import Batches
from autocast_core.decide.rules import SEARCH
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.errors import DataError, GateError
from autocast_core.evaluate import AskedJudge, Recording, TaskMetric, asked_judges, output_metric_names, recorded
from autocast_core.evaluate.gates import ALLOW_NONFINITE, NO_NONFINITE
from autocast_core.operators import OperandPolicy
from autocast_core.plan import Evidence, NodeDecision, PlanData, PrecisionPlan
from autocast_core.process.garbage_collector import collected_after
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.search.attribution import Attribution, attribute
from autocast_core.search.blocks.blocks_first import set_by_blocks
from autocast_core.search.blocks.equal_blocks import by_blocks
from autocast_core.search.budget import Budget, parse_budget
from autocast_core.search.costs.cheaper_sets import cheaper_certified, cheapest_set
from autocast_core.search.measure import Measurements
from autocast_core.search.minimal_set import (
    MeasuringLimits,
    MinimalSet,
    Tester,
    certified,
    minimal_set,
    smaller_certified,
    smaller_set,
)
from autocast_core.search.pareto import FrontPoint, measured_front
from autocast_core.search.priced_ranking import priced_ranking
from autocast_core.search.ranking import Ranking, ranked
from autocast_core.search.request import OVERHEAD, SearchLimits, SearchRequest, SearchSubject
from autocast_core.search.result import CertificateEntry, ParetoPoint, SearchResult
from autocast_core.search.search_space import SearchSpace, search_space
from autocast_core.search.second_type import in_second_type, second_type_choices
from autocast_core.search.trials import MemoryTrials, Trial, TrialListener, TrialStore, no_listener

_DEFAULT_LIMITS = SearchLimits()


def search(
    subject: SearchSubject,
    request: SearchRequest,
    limits: SearchLimits = _DEFAULT_LIMITS,
    *,
    trials_store: TrialStore | None = None,
    listener: TrialListener = no_listener,
    progress: ProgressCallback = silent,
) -> SearchResult:
    """The smallest set of FP32 nodes with which the subject's model meets every budget of `request`.

    Measured is the simulated model against the subject's reference, over all its batches. The set is smallest by the
    request's cost as far as 1-minimality goes. Once `limits` are reached, the best plan so far comes back. What
    `trials_store` knows is not measured again; `listener` gets each trial.

    ConfigError for a budget that cannot be read; DataError where it needs labels that the data lacks, or the reference
    itself holds NaN; GateError where not even the all-FP32 plan meets the budgets, or the subject takes no NaN or
    infinity and there are some.
    """
    model, batches, runtime, config = subject.model, subject.batches, subject.runtime, subject.config
    budget = _budget(request, subject)
    measuring = _measuring(limits)
    judges = asked_judges(config.judges, budget.judges)
    store = trials_store if trials_store is not None else MemoryTrials()
    weights = scan_weights(model, config.precision)
    space = search_space(model, config, weights, subject.changes)
    _require_finite_weights(subject, space)
    context = _context(space, batches, request.metric, config.class_outputs, judges)
    attribution = _attribution(subject, space, store, context, progress)
    _require_no_nan(subject, attribution)
    with recorded(subject.source, batches, runtime, subject.config.class_outputs) as recording:
        _require_numbers(subject, recording, len(batches))
        budget = replace(budget, names=output_metric_names(recording.output_names))

        def heard(trial: Trial) -> None:
            listener(trial)
            progress(Progress("search", measure.passes + OVERHEAD, limits.max_trials, "evaluations"))

        measurements = _measurer(subject, request, recording, judges, store, limits, heard)
        measure = measurements(space, 0)
        ranking = priced_ranking(subject, request, space, attribution)
        found = _smallest_set(model, ranking, attribution, measure, budget, measuring)
        result = _result(space, found, attribution, measure, budget, batches)
        if config.range_precision is not None and found.stopped is None:
            result = _with_second_type(
                subject, config.range_precision, result, ranking, measurements, budget=budget, limits=measuring
            )
        if request.pareto:
            result = _with_front(result, ranking, measure, budget, measuring)
    return _described(result, lambda plan: with_own_signs(model, plan, space.lowest, weights))


def _measurer(
    subject: SearchSubject,
    request: SearchRequest,
    recording: Recording,
    judges: Sequence[AskedJudge],
    store: TrialStore,
    limits: SearchLimits,
    listener: TrialListener,
) -> Callable[[SearchSpace, int], Measurements]:
    """What makes the measurements of a search space, which follow so many earlier trials."""
    outputs = subject.config.class_outputs

    def measurements(of: SearchSpace, earlier: int) -> Measurements:
        return Measurements(
            subject.model,
            of,
            recording,
            subject.batches,
            subject.runtime,
            context=_context(of, subject.batches, request.metric, outputs, judges),
            store=store,
            metric=request.metric,
            judges=judges,
            workers=limits.workers,
            elsewhere=limits.elsewhere,
            listener=listener,
            earlier=earlier,
        )

    return measurements


def _described(result: SearchResult, described: Callable[[PrecisionPlan], PrecisionPlan]) -> SearchResult:
    """`result` with its own plan, and those of its front, `described` by what they do."""
    front = tuple(replace(point, plan=described(point.plan)) for point in result.front)
    return replace(result, plan=described(result.plan), front=front)


def _smallest_set(
    model: ir.Model,
    ranking: Ranking,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    limits: MeasuringLimits,
) -> MinimalSet:
    """The smallest set that is found: block by block where the model repeats blocks, else node by node."""
    blocks = by_blocks(model, ranking.space)
    if blocks is None:
        if ranking.costs.crossings:
            return cheapest_set(ranking, attribution, measure, budget, limits)
        return minimal_set(ranking, attribution, measure, budget, limits, smaller_certified)
    coarse = replace(ranked(blocks, attribution, ranking.costs), price=ranking.price)
    return set_by_blocks(ranking, coarse, attribution, measure, budget, limits)


def _with_front(
    result: SearchResult, ranking: Ranking, measure: Measurements, budget: Budget, limits: MeasuringLimits
) -> SearchResult:
    """`result` with the front of accuracy against cost, from at most half as many evaluations more; that of sets in one
    low type, where there are two."""
    before = measure.passes
    most = before + max(1, result.evaluations // 2)
    own = replace(limits, passes=most if limits.passes is None else min(most, limits.passes))
    points = measured_front(Tester(ranking, measure, budget, own, ranking.everything))
    front = tuple(
        ParetoPoint(
            _front_plan(result.plan, ranking, point),
            kept_fp32=ranking.ordered(point.kept),
            cost=point.cost,
            unit=ranking.unit,
            sqnr_db=point.sqnr_db,
        )
        for point in points
    )
    evaluations = result.evaluations + measure.passes - before
    data = structs.replace(result.plan.data, evaluations=evaluations)
    seen = {trial.number for trial in result.trials}
    more = tuple(trial for trial in measure.trials if trial.number not in seen)
    return replace(
        result,
        plan=structs.replace(result.plan, data=data),
        front=front,
        evaluations=evaluations,
        trials=(*result.trials, *more),
    )


def _front_plan(found: PrecisionPlan, ranking: Ranking, point: FrontPoint) -> PrecisionPlan:
    """The plan of a point, measured on the same data as the plan that was `found`."""
    plan = ranking.space.plan(point.kept, "kept by this point of the front of accuracy against cost")
    data = structs.replace(found.data, budgets=UNSET, stopped=UNSET, evaluations=UNSET, metrics=point.trial.metrics)
    return structs.replace(plan, data=data)


def _with_second_type(
    subject: SearchSubject,
    second: Precision,
    first: SearchResult,
    ranking: Ranking,
    measurements: Callable[[SearchSpace, int], Measurements],
    *,
    budget: Budget,
    limits: MeasuringLimits,
) -> SearchResult:
    """`first`, or the result that keeps fewer nodes in FP32 because some of them run in the second type instead."""
    space, attribution, kept = ranking.space, first.attribution, first.kept_fp32
    result = first
    for chosen in second_type_choices(subject.model, space, kept, attribution, second):
        wide = in_second_type(space, chosen, second)
        again = measurements(wide, len(result.trials))
        left = _left(limits, result.evaluations)
        start = frozenset(kept) - chosen
        shrink = cheaper_certified if ranking.costs.crossings else certified
        smaller = smaller_set(replace(ranking, space=wide), again, budget, left, start, shrink)
        if smaller is not None:
            return _after(result, _result(wide, smaller, attribution, again, budget, subject.batches))
        result = replace(result, trials=(*result.trials, *again.trials), evaluations=result.evaluations + again.passes)
    return result


def _left(limits: MeasuringLimits, evaluations: int) -> MeasuringLimits:
    """What `limits` leave after so many evaluations, the reference's and the attribution's among them."""
    used = evaluations - OVERHEAD
    return limits if limits.passes is None else replace(limits, passes=max(limits.passes - used, 0))


def _after(first: SearchResult, second: SearchResult) -> SearchResult:
    """`second`, of a search that went on where `first` ended."""
    evaluations = first.evaluations + second.evaluations - OVERHEAD
    data = structs.replace(second.plan.data, evaluations=evaluations)
    return replace(
        second,
        plan=structs.replace(second.plan, data=data),
        noise_floor=first.noise_floor,
        trials=(*first.trials, *second.trials),
        evaluations=evaluations,
    )


def _budget(request: SearchRequest, subject: SearchSubject) -> Budget:
    outputs = [str(value.name) for value in subject.source.graph.outputs]
    has_labels = subject.batches.labels is not None
    return parse_budget(request.budgets, outputs, has_labels=has_labels, has_metric=request.metric is not None)


def _measuring(limits: SearchLimits) -> MeasuringLimits:
    """The limits of what is measured beside the reference and the attribution; the time begins now."""
    passes = None if limits.max_trials is None else limits.max_trials - OVERHEAD
    deadline = None if limits.minutes is None else limits.clock() + 60 * limits.minutes
    return MeasuringLimits(passes, deadline, limits.clock)


def _context(
    space: SearchSpace,
    batches: Batches,
    metric: TaskMetric | None,
    class_outputs: Sequence[str],
    judges: Sequence[AskedJudge],
) -> str:
    """What decides every measurement, as one digest."""
    plan = space.lowest
    decided = [[d.id, d.precision] for d in plan.nodes]
    judged = None if metric is None else metric.digest
    settings = plan.settings.to_json()
    data = [batches.digest, len(batches), list(class_outputs)]
    parts = [plan.structure_digest, plan.weights_digest, *data, settings, decided, judged]
    parts += [[each.judge.name, dict(each.options)] for each in judges]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _attribution(
    subject: SearchSubject, space: SearchSpace, store: TrialStore, context: str, progress: ProgressCallback
) -> Attribution:
    key = f"{context}:attribution"
    known = store.get(key)
    if known is not None:
        return Attribution.from_json(known)
    low = {decision.id: decision.precision for decision in space.lowest.nodes if decision.precision.is_low}
    policy = OperandPolicy.of_plan(subject.model, space.lowest)
    precision, batches, runtime = subject.config.precision, subject.batches, subject.runtime
    with collected_after():
        made = attribute(subject.model, low, precision, policy, batches, runtime, progress)
    store.put(key, made.to_json())
    return made


def _require_finite_weights(subject: SearchSubject, space: SearchSpace) -> None:
    found = space.lowest.nonfinite_weights()
    if found is not None and not subject.allow_nonfinite:
        raise GateError(f"gate missed: {NO_NONFINITE} {found}; {ALLOW_NONFINITE}")


def _require_no_nan(subject: SearchSubject, attribution: Attribution) -> None:
    if attribution.nan:
        rest = f" and {len(attribution.nan) - 1} more" if len(attribution.nan) > 1 else ""
        first = f"first in tensor {attribution.nan[0]!r}{rest}"
        raise _nan(subject, f"the FP32 model itself computes NaN on the evaluation data, {first}")


def _require_numbers(subject: SearchSubject, recording: Recording, batches: int) -> None:
    for number in range(batches):
        for name, output in zip(recording.output_names, recording.outputs(number), strict=True):
            if not (isinstance(output, np.ndarray) and output.dtype.kind == "f"):
                continue
            where = f"on batch {number} of the evaluation data, in output {name!r}"
            if np.isnan(output).any():
                raise _nan(subject, f"the FP32 model itself gives NaN {where}")
            if not subject.allow_nonfinite and not np.isfinite(output).all():
                said = f"the FP32 model itself gives infinity {where}"
                raise GateError(f"gate missed: {NO_NONFINITE} {said}; {ALLOW_NONFINITE}")


def _nan(subject: SearchSubject, said: str) -> DataError | GateError:
    """NaN misses a gate, and where that is waived it still cannot be searched on."""
    remedy = "fix the model or the data before a search"
    if subject.allow_nonfinite:
        return DataError(f"{said}; {remedy}")
    return GateError(f"gate missed: {NO_NONFINITE} {said}; {remedy}")


def _result(
    space: SearchSpace,
    found: MinimalSet,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    batches: Batches,
) -> SearchResult:
    best = measure(frozenset(found.kept))
    evaluations = measure.passes + OVERHEAD
    return SearchResult(
        plan=_plan(space, found, attribution, batches, budget, best, evaluations),
        kept_fp32=found.kept,
        metrics=best.metrics,
        noise_floor=measure(frozenset(space.candidates)).metrics,
        budgets=budget.results(best),
        certificate=found.certificate,
        attribution=attribution,
        trials=measure.trials,
        evaluations=evaluations,
        stopped=found.stopped,
    )


def _plan(
    space: SearchSpace,
    found: MinimalSet,
    attribution: Attribution,
    batches: Batches,
    budget: Budget,
    best: Trial,
    evaluations: int,
) -> PrecisionPlan:
    """The plan with the reasons: the certificate at each kept node, the ranked attribution in its data."""
    entries = {entry.node: entry for entry in found.certificate}
    shares = {node.id: node.share for node in attribution.nodes}
    plan = space.plan(found.kept)
    kept = frozenset(found.kept)
    nodes = tuple(_explained(d, entries.get(d.id), shares.get(d.id)) if d.id in kept else d for d in plan.nodes)
    data = PlanData(
        origin="evaluation" if batches.origin == "calibration" else batches.origin,
        digest=batches.digest,
        batches=len(batches),
        backend="simulation",
        budgets=tuple(gate.expression for gate in budget.gates),
        evaluations=evaluations,
        stopped=found.stopped,
        metrics=best.metrics,
        attribution=attribution.nodes,
    )
    return structs.replace(plan, nodes=nodes, data=data)


def _explained(decision: NodeDecision, entry: CertificateEntry | None, share: float | None) -> NodeDecision:
    details = [] if share is None else [f"{share:.2%} of the output error of the fully lowered model enters here"]
    reason = "kept to meet the budget; not certified"
    if entry is not None:
        failing = [f"lowered too: {gate.expression} fails ({gate.reason})" for gate in entry.failing]
        details += [entry.price(), *failing]
        reason = failing[-1] if failing else f"to lower it saves nothing: it {entry.price()}"
    evidence = tuple(Evidence(detail=detail) for detail in details)
    return structs.replace(decision, rule=SEARCH.name, reason=reason, evidence=evidence)
