"""From a model and budgets to the best plan, its certificate and the reasons."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
from msgspec import structs

from autocast_core.calibrate import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import Batches
from autocast_core.decide.rules import SEARCH
from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate import Recording, TaskMetric, output_metric_names, recorded
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.operators import OperandPolicy
from autocast_core.plan import Evidence, NodeDecision, PlanData, PrecisionPlan
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime
from autocast_core.search.attribution import Attribution, attribute
from autocast_core.search.budget import Budget, parse_budget
from autocast_core.search.find import Found, Limits, find
from autocast_core.search.measure import Measurements
from autocast_core.search.result import CertificateEntry, SearchResult
from autocast_core.search.search_space import SearchSpace, search_space
from autocast_core.search.trials import MemoryTrials, Trial, TrialListener, TrialStore, nobody

BESIDES = 2
"""Evaluations that are no trials of plans: the reference's and the attribution's."""
COSTS = ("nodes", "weight_bytes")


def search(
    model: ir.Model,
    batches: Batches,
    budgets: Sequence[str],
    runtime: Runtime,
    config: ConversionConfig,
    *,
    reference: ir.Model | None = None,
    changes: Iterable[Any] = (),
    metric: TaskMetric | None = None,
    cost: str = "nodes",
    max_trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    trials_store: TrialStore | None = None,
    listener: TrialListener = nobody,
    progress: ProgressCallback = silent,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """The smallest set of FP32 nodes of a sanitized `model` with which it meets every budget over `batches`.

    Measured is the simulated model against `reference` (the source before sanitize; default: `model`). The set is
    smallest by `cost` (COSTS) as far as 1-minimality goes. `max_trials` bounds all evaluations, `minutes` the time
    after which none is begun; then the best plan so far comes back. What `trials_store` knows is not measured again.
    With `workers` the certificate's trials run side by side. With `metric` the budget ``task_metric_ratio`` is about it
    instead of top-1.

    ConfigError for a budget that cannot be read; DataError where it needs labels that the data lacks, or the reference
    itself holds NaN; GateError where not even the all-FP32 plan meets the budget.
    """
    source = reference if reference is not None else model
    budget = _budget(budgets, source, batches, metric)
    _check(cost, max_trials, minutes, workers)
    limits = Limits(
        None if max_trials is None else max_trials - BESIDES, None if minutes is None else clock() + 60 * minutes, clock
    )
    store = trials_store if trials_store is not None else MemoryTrials()
    begin = search_space(model, config, scan_weights(model, config.precision), changes)
    context = _context(begin, batches, metric)
    attribution = _attribution(model, begin, batches, runtime, config.precision, store, context, progress)
    _require_no_nan(attribution)
    with recorded(source, batches, runtime) as recording:
        _require_numbers(recording, len(batches))
        budget = replace(budget, names=output_metric_names(recording.output_names))

        def heard(trial: Trial) -> None:
            listener(trial)
            progress(Progress("search", measure.passes + BESIDES, max_trials, "evaluations"))

        measure = Measurements(
            model,
            begin,
            recording,
            batches,
            runtime,
            context=context,
            store=store,
            metric=metric,
            workers=workers,
            listener=heard,
        )
        found = find(begin, attribution, measure, budget, limits, _costs(model, begin, cost))
        return _result(begin, found, attribution, measure, budget, batches)


def _budget(budgets: Sequence[str], source: ir.Model, batches: Batches, metric: TaskMetric | None) -> Budget:
    outputs = [str(value.name) for value in source.graph.outputs]
    return parse_budget(budgets, outputs, has_labels=batches.labels is not None, has_metric=metric is not None)


def _check(cost: str, max_trials: int | None, minutes: float | None, workers: int) -> None:
    if cost not in COSTS:
        raise ConfigError(f"cost {cost!r}: give {' or '.join(COSTS)}")
    if max_trials is not None and max_trials <= BESIDES:
        raise ConfigError(
            f"max_trials is {max_trials}: give at least {BESIDES + 1}, for the reference, the attribution and all-FP32"
        )
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes is {minutes}: give a positive number")
    if workers < 1:
        raise ConfigError(f"workers is {workers}: give at least 1")


def _context(begin: SearchSpace, batches: Batches, metric: TaskMetric | None) -> str:
    """What decides every measurement, as one digest."""
    plan = begin.lowest
    decided = [[d.id, d.precision] for d in plan.nodes]
    judged = None if metric is None else metric.digest
    settings = plan.settings.to_json()
    parts = [plan.structure_digest, plan.weights_digest, batches.digest, len(batches), settings, decided, judged]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _attribution(
    model: ir.Model,
    begin: SearchSpace,
    batches: Batches,
    runtime: Runtime,
    precision: Precision,
    store: TrialStore,
    context: str,
    progress: ProgressCallback,
) -> Attribution:
    key = f"{context}:attribution"
    known = store.get(key)
    if known is not None:
        return Attribution.from_json(known)
    low = {decision.id: decision.precision for decision in begin.lowest.nodes if decision.precision.is_low}
    policy = OperandPolicy.of_plan(model, begin.lowest)
    made = attribute(model, low, precision, policy, batches, runtime, progress)
    store.put(key, made.to_json())
    return made


def _require_no_nan(attribution: Attribution) -> None:
    if attribution.nan:
        rest = f" and {len(attribution.nan) - 1} more" if len(attribution.nan) > 1 else ""
        raise DataError(
            f"the FP32 model itself computes NaN on the evaluation data, first in tensor {attribution.nan[0]!r}{rest};"
            " mend the model or the data before a search"
        )


def _require_numbers(recording: Recording, batches: int) -> None:
    for number in range(batches):
        for name, output in zip(recording.output_names, recording.outputs(number), strict=True):
            if isinstance(output, np.ndarray) and output.dtype.kind == "f" and np.isnan(output).any():
                raise DataError(
                    f"the FP32 model itself gives NaN on batch {number} of the evaluation data, in output {name!r};"
                    " mend the model or the data before a search"
                )


def _costs(model: ir.Model, begin: SearchSpace, cost: str) -> dict[str, float] | None:
    """By candidate, what keeping it costs; None for one each."""
    if cost == "nodes":
        return None
    candidates = set(begin.candidates)
    return {
        # One byte more, so that nodes without weights are not free.
        node_id: 1.0 + sum(v.const_value.nbytes for v in node.inputs if v is not None and v.const_value is not None)
        for node_id, node in nodes_with_ids(model.graph)
        if node_id in candidates
    }


def _result(
    begin: SearchSpace,
    found: Found,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    batches: Batches,
) -> SearchResult:
    best = measure(frozenset(found.kept))
    evaluations = measure.passes + BESIDES
    return SearchResult(
        plan=_plan(begin, found, attribution, batches, budget, best, evaluations),
        kept_fp32=found.kept,
        metrics=best.metrics,
        noise_floor=measure(frozenset(begin.candidates)).metrics,
        budgets=budget.results(best),
        certificate=found.certificate,
        attribution=attribution,
        trials=measure.trials,
        evaluations=evaluations,
        stopped=found.stopped,
    )


def _plan(
    begin: SearchSpace,
    found: Found,
    attribution: Attribution,
    batches: Batches,
    budget: Budget,
    best: Trial,
    evaluations: int,
) -> PrecisionPlan:
    """The plan with the reasons: the certificate at each kept node, the ranked attribution in its data."""
    entries = {entry.node: entry for entry in found.certificate}
    shares = {node.id: node.share for node in attribution.nodes}
    plan = begin.plan(found.kept)
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
    if entry is not None and entry.failing:
        details += [f"lowered too: {gate.expression} fails ({gate.reason})" for gate in entry.failing]
    evidence = tuple(Evidence(detail=detail) for detail in details)
    reason = details[-1] if entry is not None and entry.failing else "kept to meet the budget; not certified"
    return structs.replace(decision, rule=SEARCH.name, reason=reason, evidence=evidence)
