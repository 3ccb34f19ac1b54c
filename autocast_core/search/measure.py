"""Measuring plans: simulated models against the recorded outputs of the exact one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property, partial
from typing import Any

import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.data import Batches
from autocast_core.errors import BackendError
from autocast_core.evaluate import AskedJudge, Comparison, Evaluation, Recording, TaskMetric, task_metric_values
from autocast_core.evaluate.recording import FEW_BATCHES
from autocast_core.model import WrittenWeights
from autocast_core.plan import PrecisionPlan
from autocast_core.process.garbage_collector import collected_after
from autocast_core.runtime import Runtime
from autocast_core.search.merge_models import merge_models
from autocast_core.search.ranking import Kept
from autocast_core.search.search_space import SearchSpace
from autocast_core.search.trials import Trial, TrialListener, TrialStore, decoded, encoded, no_listener, trial_key
from autocast_core.simulate import simulate_in_place

_LARGEST_GRAPH = 40_000
"""Nodes of the plans that share a pass, before rounding is added: sessions take more than linearly long to open."""
Measured = tuple[dict[str, float], str | None]
PlanMeasurer = Callable[[Sequence[PrecisionPlan]], list[dict[str, float]]]
"""Gives the metrics of several plans, from one pass; BackendError where their graph cannot be run."""


def plan_metrics(
    model: ir.Model,
    plans: Sequence[PrecisionPlan],
    recording: Recording,
    batches: Batches,
    runtime: Runtime,
    metric: TaskMetric | None = None,
    judges: Sequence[AskedJudge] = (),
    reference_metric: float | None = None,
    weights: WrittenWeights | None = None,
) -> list[dict[str, float]]:
    """By plan everything that gates know of the sanitized `model` as it is in that plan, by name.

    One pass over `batches` for all of them, against what the exact model gave for these; `reference_metric` is the
    `metric` of that. Passes with the same `weights` convert those once. BackendError where the graph cannot be run.
    """
    models = [simulate_in_place(apply_plan(model, plan).model) for plan in plans]
    names = [tuple(str(value.name) for value in each.graph.outputs) for each in models]
    scores = recording.class_outputs
    comparisons = [Comparison(recording.output_names, each, batches.labels, metric, scores, judges) for each in names]
    few = len(batches) <= FEW_BATCHES
    merged = merge_models(models)
    if weights is not None:
        weights.read_by(merged)
    with closing(runtime.open(merged, exact=True, few_runs=few, batches=batches)) as session:
        for number, feeds in enumerate(batches):
            expected, found = recording.outputs(number), session.run(feeds)
            for comparison, each in zip(comparisons, names, strict=True):
                comparison.add(expected, found[: len(each)])
                found = found[len(each) :]
        evaluations = [comparison.result(session.backend) for comparison in comparisons]
    return [_named(evaluation, reference_metric) for evaluation in evaluations]


def metric_of_reference(metric: TaskMetric | None, recording: Recording, batches: Batches) -> float | None:
    """The `metric` of what the exact model gave; None without one."""
    return None if metric is None else metric(recording.joined(), batches.labels)


def _named(evaluation: Evaluation, reference_metric: float | None) -> dict[str, float]:
    found = {**evaluation.fidelity.metrics(), **evaluation.task_metrics()}
    if evaluation.metric is None or reference_metric is None:
        return found
    return found | task_metric_values(reference_metric, evaluation.metric)


class Measurements:
    """Evaluates plans by the candidates they keep, each once; `trials` has them in order.

    Several plans may share one pass of one graph, in which each is computed exactly as alone; `passes` counts those.
    Passes that run side by side are measured by `elsewhere`, where it is given. Trials are numbered on from `earlier`
    ones.
    """

    def __init__(
        self,
        model: ir.Model,
        space: SearchSpace,
        recording: Recording,
        batches: Batches,
        runtime: Runtime,
        *,
        context: str,
        store: TrialStore,
        metric: TaskMetric | None = None,
        judges: Sequence[AskedJudge] = (),
        workers: int = 1,
        elsewhere: PlanMeasurer | None = None,
        listener: TrialListener = no_listener,
        earlier: int = 0,
    ) -> None:
        self._model, self._space, self._recording, self._batches = model, space, recording, batches
        self._runtime, self._context, self._store = runtime, context, store
        self._workers, self._elsewhere, self._listener = workers, elsewhere, listener
        self._metric, self._judges = metric, judges
        self._known: dict[Kept, Trial] = {}
        self._earlier = earlier
        self.passes = 0
        self.most = max(1, _LARGEST_GRAPH // max(1, len(space.lowest.nodes)))
        """Plans that may share a pass."""

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._known.values())

    def known(self, kept: Kept) -> Trial | None:
        """The trial of `kept`, if it was measured in this search."""
        return self._known.get(kept)

    def __call__(self, kept: Kept) -> Trial:
        if kept not in self._known:
            self.run([[kept]])
        return self._known[kept]

    def run(self, groups: Sequence[Sequence[Kept]]) -> None:
        """Measures plans that are not known yet: each group in one pass, several groups side by side where there are
        several workers."""
        if self._workers > 1 and len(groups) > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                found = list(pool.map(partial(self._group, measure=self._elsewhere), groups))
        else:
            found = [self._group(group) for group in groups]
        for group, measured in zip(groups, found, strict=True):
            self.passes += 1
            for kept, (metrics, error) in zip(group, measured, strict=True):
                trial = Trial(self._earlier + len(self._known) + 1, tuple(sorted(kept)), metrics, error)
                self._known[kept] = trial
                self._listener(trial)

    def _group(self, group: Sequence[Kept], measure: PlanMeasurer | None = None) -> list[Measured]:
        """What is stored is not measured again; a graph that cannot be run is taken apart, to see whose fault it is."""
        keys = {kept: trial_key(self._context, kept) for kept in group}
        stored: dict[Kept, Any] = {kept: self._store.get(key) for kept, key in keys.items()}
        new = [kept for kept in group if stored[kept] is None]
        try:
            metrics_of = (measure or self._metrics)([self._space.plan(kept) for kept in new]) if new else []
            measured: list[Measured] = [(metrics, None) for metrics in metrics_of]
        except BackendError as failure:
            measured = [self._alone(kept) for kept in new] if len(new) > 1 else [({}, str(failure))]
        for kept, (metrics, error) in zip(new, measured, strict=True):
            stored[kept] = {"metrics": encoded(metrics), "error": error}
            self._store.put(keys[kept], stored[kept])
        return [(decoded(stored[kept]["metrics"]), stored[kept]["error"]) for kept in group]

    def _alone(self, kept: Kept) -> Measured:
        try:
            return self._metrics([self._space.plan(kept)])[0], None
        except BackendError as failure:
            return {}, str(failure)

    def _metrics(self, plans: Sequence[PrecisionPlan]) -> list[dict[str, float]]:
        judged = self._metric, self._judges, self._reference_metric, self._recording.weights
        with collected_after():
            return plan_metrics(self._model, plans, self._recording, self._batches, self._runtime, *judged)

    @cached_property
    def _reference_metric(self) -> float | None:
        return metric_of_reference(self._metric, self._recording, self._batches)
