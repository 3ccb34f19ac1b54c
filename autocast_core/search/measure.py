"""Measuring plans: simulated models against the recorded outputs of the exact one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from typing import Any

import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.data import Batches
from autocast_core.errors import BackendError
from autocast_core.evaluate import AskedJudge, Comparison, Evaluation, Recording, TaskMetric, task_metric_values
from autocast_core.evaluate.recording import FEW_BATCHES
from autocast_core.runtime import Runtime
from autocast_core.search.merge_models import merge_models
from autocast_core.search.ranking import Kept
from autocast_core.search.search_space import SearchSpace
from autocast_core.search.trials import Trial, TrialListener, TrialStore, decoded, encoded, no_listener, trial_key
from autocast_core.simulate import simulate

_LARGEST_GRAPH = 40_000
"""Nodes of the plans that share a pass, before rounding is added: sessions take more than linearly long to open."""
Measured = tuple[dict[str, float], str | None]


class Measurements:
    """Evaluates plans by the candidates they keep, each once; `trials` has them in order.

    Several plans may share one pass of one graph, in which each is computed exactly as alone; `passes` counts those.
    Trials are numbered on from `earlier` ones.
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
        listener: TrialListener = no_listener,
        earlier: int = 0,
    ) -> None:
        self._model, self._space, self._recording, self._batches = model, space, recording, batches
        self._runtime, self._context, self._store = runtime, context, store
        self._workers, self._listener = workers, listener
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
                found = list(pool.map(self._group, groups))
        else:
            found = [self._group(group) for group in groups]
        for group, measured in zip(groups, found, strict=True):
            self.passes += 1
            for kept, (metrics, error) in zip(group, measured, strict=True):
                trial = Trial(self._earlier + len(self._known) + 1, tuple(sorted(kept)), metrics, error)
                self._known[kept] = trial
                self._listener(trial)

    def _group(self, group: Sequence[Kept]) -> list[Measured]:
        """What is stored is not measured again; a graph that cannot be run is taken apart, to see whose fault it is."""
        keys = {kept: trial_key(self._context, kept) for kept in group}
        stored: dict[Kept, Any] = {kept: self._store.get(key) for kept, key in keys.items()}
        new = [kept for kept in group if stored[kept] is None]
        try:
            measured: list[Measured] = [(metrics, None) for metrics in self._metrics(new)] if new else []
        except BackendError as failure:
            measured = [self._alone(kept) for kept in new] if len(new) > 1 else [({}, str(failure))]
        for kept, (metrics, error) in zip(new, measured, strict=True):
            stored[kept] = {"metrics": encoded(metrics), "error": error}
            self._store.put(keys[kept], stored[kept])
        return [(decoded(stored[kept]["metrics"]), stored[kept]["error"]) for kept in group]

    def _alone(self, kept: Kept) -> Measured:
        try:
            return self._metrics([kept])[0], None
        except BackendError as failure:
            return {}, str(failure)

    def _metrics(self, group: Sequence[Kept]) -> list[dict[str, float]]:
        """The metrics of several plans, from one pass."""
        models = [simulate(apply_plan(self._model, self._space.plan(kept)).model) for kept in group]
        names = [tuple(str(value.name) for value in model.graph.outputs) for model in models]
        reference = self._recording.output_names
        scores = self._recording.class_outputs
        comparisons = [
            Comparison(reference, each, self._batches.labels, self._metric, scores, self._judges) for each in names
        ]
        few = len(self._batches) <= FEW_BATCHES
        with closing(self._runtime.open(merge_models(models), exact=True, few_runs=few)) as session:
            for number, feeds in enumerate(self._batches):
                expected, found = self._recording.outputs(number), session.run(feeds)
                for comparison, each in zip(comparisons, names, strict=True):
                    comparison.add(expected, found[: len(each)])
                    found = found[len(each) :]
            return [self._named(comparison.result(session.backend)) for comparison in comparisons]

    def _named(self, evaluation: Evaluation) -> dict[str, float]:
        """Everything that gates know, by name."""
        found = {**evaluation.fidelity.metrics(), **evaluation.task_metrics()}
        return (
            found
            if evaluation.metric is None
            else found | task_metric_values(self._reference_metric, evaluation.metric)
        )

    @cached_property
    def _reference_metric(self) -> float:
        assert self._metric is not None
        return self._metric(self._recording.joined(), self._batches.labels)
