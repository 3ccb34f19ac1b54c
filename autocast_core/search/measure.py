"""Measuring plans: the simulated model against the recorded outputs of the exact one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Batches
from autocast_core.errors import BackendError
from autocast_core.evaluate import Evaluation, evaluate
from autocast_core.progress import ProgressCallback, silent
from autocast_core.runtime import Runtime, Session
from autocast_core.search.metric import Collected, TaskMetric, joined, task_metrics
from autocast_core.search.start import Start
from autocast_core.search.trials import Trial, TrialListener, TrialStore, decoded, encoded, nobody, trial_key
from autocast_core.simulate import simulate

_IN_MEMORY_BYTES = 1 << 28
FEW_BATCHES = 4


class Recording:
    """The outputs of one session over all batches: in memory as far as they are small, else in `folder`."""

    def __init__(self, session: Session, batches: Batches, folder: Path) -> None:
        self.output_names: Sequence[str] = tuple(session.output_names)
        self.input_names: Sequence[str] = tuple(session.input_names)
        self.backend = session.backend
        self._kept: list[list[Any] | Path] = []
        room = _IN_MEMORY_BYTES
        for number, feeds in enumerate(batches):
            outputs = session.run(feeds)
            arrays = [output for output in outputs if isinstance(output, np.ndarray)]
            room -= sum(array.nbytes for array in arrays)
            if room < 0 and len(arrays) == len(outputs) and not any(a.dtype.hasobject for a in arrays):
                path = folder / f"{number}.npz"
                np.savez(path, *outputs)
                self._kept.append(path)
            else:
                self._kept.append(outputs)

    def replay(self) -> Replay:
        """The recording from its beginning."""
        return Replay(self)

    def outputs(self, number: int) -> list[Any]:
        """What the session gave for batch `number`."""
        kept = self._kept[number]
        if isinstance(kept, Path):
            with np.load(kept) as arrays:
                return [arrays[f"arr_{index}"] for index in range(len(self.output_names))]
        return kept


class Replay:
    """A Session that gives the recorded outputs, batch by batch in their order, whatever it is fed."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self._next = recording, 0
        self.input_names, self.output_names = recording.input_names, recording.output_names
        self.backend = recording.backend

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any]:
        self._next += 1
        return self._recording.outputs(self._next - 1)

    def close(self) -> None: ...


@contextmanager
def recorded(source: ir.Model, batches: Batches, runtime: Runtime) -> Iterator[Recording]:
    """The outputs of the exact model, as long as the context lasts; one evaluation."""
    with tempfile.TemporaryDirectory(prefix="autocast-search-") as folder:
        with closing(runtime.open(source, few_runs=len(batches) <= FEW_BATCHES)) as session:
            recording = Recording(session, batches, Path(folder))
        yield recording


class Measurements:
    """Evaluates plans by the candidates they keep, each once; `trials` has them in order."""

    def __init__(
        self,
        model: ir.Model,
        begin: Start,
        recording: Recording,
        batches: Batches,
        runtime: Runtime,
        *,
        context: str,
        store: TrialStore,
        metric: TaskMetric | None = None,
        workers: int = 1,
        listener: TrialListener = nobody,
        progress: ProgressCallback = silent,
    ) -> None:
        self._model, self._start, self._recording, self._batches = model, begin, recording, batches
        self._runtime, self._context, self._store = runtime, context, store
        self._workers, self._listener, self._progress = workers, listener, progress
        self._metric = metric
        self._known: dict[frozenset[str], Trial] = {}

    @property
    def trials(self) -> tuple[Trial, ...]:
        return tuple(self._known.values())

    def known(self, kept: frozenset[str]) -> Trial | None:
        """The trial of `kept`, if it was measured in this search."""
        return self._known.get(kept)

    def all_of(self, wanted: Iterable[frozenset[str]]) -> list[Trial]:
        """The trials of several plans, measured side by side where there are several workers."""
        sets = list(wanted)
        new = [kept for kept in dict.fromkeys(sets) if kept not in self._known]
        if self._workers > 1 and len(new) > 1:
            with ThreadPoolExecutor(self._workers) as pool:
                measured = list(pool.map(self._measured, new))
        else:
            measured = [self._measured(kept) for kept in new]
        for kept, (metrics, error) in zip(new, measured, strict=True):
            trial = Trial(len(self._known) + 1, tuple(sorted(kept)), metrics, error)
            self._known[kept] = trial
            self._listener(trial)
        return [self._known[kept] for kept in sets]

    def __call__(self, kept: frozenset[str]) -> Trial:
        return self.all_of([kept])[0]

    def _measured(self, kept: frozenset[str]) -> tuple[dict[str, float], str | None]:
        key = trial_key(self._context, kept)
        found = self._store.get(key)
        if found is not None:
            return decoded(found["metrics"]), found["error"]
        try:
            metrics, error = self._metrics(kept), None
        except BackendError as failure:
            metrics, error = {}, str(failure)
        self._store.put(key, {"metrics": encoded(metrics), "error": error})
        return metrics, error

    def _metrics(self, kept: frozenset[str]) -> dict[str, float]:
        candidate = simulate(apply_plan(self._model, self._start.plan(kept)).model)
        few = len(self._batches) <= FEW_BATCHES
        replay = self._recording.replay()
        with closing(self._runtime.open(candidate, exact=True, few_runs=few)) as session:
            if self._metric is None:
                return metrics_of(evaluate(replay, session, self._batches, self._progress))
            collected = Collected(session)
            metrics = metrics_of(evaluate(replay, collected, self._batches, self._progress))
            return metrics | task_metrics(
                self._reference_metric, self._metric(collected.outputs(), self._batches.labels)
            )

    @cached_property
    def _reference_metric(self) -> float:
        assert self._metric is not None
        batches = [self._recording.outputs(number) for number in range(len(self._batches))]
        return self._metric(joined(self._recording.output_names, batches), self._batches.labels)


def metrics_of(evaluation: Evaluation) -> dict[str, float]:
    """Everything that gates know, by name."""
    task = evaluation.task.metrics() if evaluation.task is not None else {}
    return {**evaluation.fidelity.metrics(), **task}
