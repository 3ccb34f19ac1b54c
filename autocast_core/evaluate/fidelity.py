"""Comparing two models output by output, batch by batch."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from autocast_core.data import Batches
from autocast_core.errors import DataError
from autocast_core.evaluate.class_scores import called_class_scores
from autocast_core.evaluate.classification import CLASS_METRICS, ClassAgreement
from autocast_core.evaluate.errors import ERROR_METRICS, ErrorSums, OutputFidelity
from autocast_core.evaluate.judges import AskedJudge, Judged, JudgeTally
from autocast_core.evaluate.metric import TaskMetric, joined
from autocast_core.evaluate.metric_names import SIMULATION, of_output, of_worst_batch, of_worst_output
from autocast_core.evaluate.sums.percentiles import PERCENTILES
from autocast_core.evaluate.task import TaskMetrics, TopK
from autocast_core.evaluate.worst_batch import BatchFigure, is_worse, keep_worse, worst_batches
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Session

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_\-]")
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Fidelity:
    """How a candidate differs from the reference: each output, what executed it, and each output of each batch."""

    outputs: tuple[OutputFidelity, ...]
    backend: str
    batches: int
    by_batch: tuple[tuple[OutputFidelity, ...], ...] = ()

    @property
    def worst(self) -> OutputFidelity:
        """Each metric's worst value over the outputs, under the name of the one with the largest relative error.

        Float outputs where there are any: a decision that flips at a tie says little as a number. `new_nonfinite` and
        `nonfinite` are sums. An output of which nothing could be compared counts only where there is no other.
        """
        judged = self._judged
        worst = max(judged, key=lambda output: output.rel_l2)
        return OutputFidelity(
            name=worst.name,
            rel_l2=worst.rel_l2,
            max_abs=max(output.max_abs for output in judged),
            mean_abs=max(output.mean_abs for output in judged),
            cosine=min(output.cosine for output in judged),
            sqnr_db=worst.sqnr_db,
            new_nonfinite=sum(output.new_nonfinite for output in self.outputs),
            equal_share=min(output.equal_share for output in judged),
            elements=sum(output.elements for output in judged),
            is_float=worst.is_float,
            **{name: max(getattr(output, name) for output in judged) for name in PERCENTILES},
            nonfinite=sum(output.nonfinite for output in self.outputs),
            reference_rms=worst.reference_rms,
            error_rms=worst.error_rms,
            classes=_worst_classes([output.classes for output in judged if output.classes is not None]),
        )

    @cached_property
    def names(self) -> dict[str, str]:
        """By output name the name in metrics: see `output_metric_names`."""
        return output_metric_names(output.name for output in self.outputs)

    @cached_property
    def worst_batches(self) -> dict[str, dict[str, BatchFigure]]:
        """By output name and metric the figure of its worst batch."""
        return worst_batches(self.outputs, self.by_batch)

    @cached_property
    def worst_batch(self) -> dict[str, BatchFigure]:
        """By metric the worst figure of any output's worst batch; errors of float outputs where there are any."""
        found: dict[str, BatchFigure] = {}
        judged = {output.name for output in self._judged}
        for output, figures in self.worst_batches.items():
            for metric, figure in figures.items():
                if output in judged or metric in ("equal_share", "new_nonfinite", "nonfinite"):
                    keep_worse(found, metric, figure)
        return found

    def nonfinite_results(self) -> str | None:
        """One line on the NaN and infinite values that the reference itself gives; None where there are none."""
        outputs = {output.name: output.nonfinite for output in self.outputs if output.nonfinite}
        if not outputs:
            return None
        name = next(iter(outputs))
        number = next((n for n, batch in enumerate(self.by_batch) for each in batch if each.nonfinite), 0)
        others = f", and {len(outputs) - 1} more outputs" if len(outputs) > 1 else ""
        return (
            f"the FP32 model itself gives {sum(outputs.values()):,} NaN or infinite values: output {name!r}, first in"
            f" batch {number} of {self.batches}{others}"
        )

    @property
    def _judged(self) -> Sequence[OutputFidelity]:
        floats = [output for output in self.outputs if output.is_float] or self.outputs
        return [output for output in floats if not math.isnan(output.rel_l2)] or floats

    def metrics(self, prefix: str = SIMULATION) -> dict[str, float]:
        """Every metric of every output, of the worst and of the worst batches, by the names that runs are logged
        under."""
        if not self.outputs:
            return {}
        found = {of_worst_output(metric, prefix): value for metric, value in _values(self.worst).items()}
        exact = [output.equal_share for output in self.outputs if not output.is_float]
        if exact:
            found[of_worst_output("equal_share", prefix)] = min(exact)
        for output in self.outputs:
            name = self.names[output.name]
            found |= {of_output(name, metric, prefix): value for metric, value in _values(output).items()}
        return found | {name: figure.value for name, figure in self._batch_figures(prefix).items()}

    def places(self, prefix: str = SIMULATION) -> dict[str, str]:
        """By metric name where the value was found: the output, and the batch, counted from 0."""
        found = {
            name: f"output {figure.output!r}, batch {figure.batch} of {self.batches}"
            for name, figure in self._batch_figures(prefix).items()
        }
        worst: dict[str, tuple[float, str]] = {}
        for output in self._judged:
            for metric, value in _values(output).items():
                if metric not in worst or is_worse(metric, value, worst[metric][0]):
                    worst[metric] = value, output.name
        return found | {of_worst_output(metric, prefix): f"output {name!r}" for metric, (_, name) in worst.items()}

    def _batch_figures(self, prefix: str) -> dict[str, BatchFigure]:
        found = {of_worst_batch(metric, prefix): figure for metric, figure in self.worst_batch.items()}
        for output, figures in self.worst_batches.items():
            name = self.names[output]
            found |= {of_output(name, metric, prefix, worst_batch=True): each for metric, each in figures.items()}
        return found

    def table(self) -> dict[str, list[Any]]:
        """Each metric of each output and batch, as columns of a table; None where an output has no such metric."""
        rows = [
            {"batch": number, "output": output.name, **dict.fromkeys(CLASS_METRICS), **_values(output)}
            for number, outputs in enumerate(self.by_batch)
            for output in outputs
        ]
        columns = ("batch", "output", *ERROR_METRICS, "equal_share", *CLASS_METRICS)
        return {column: [row.get(column) for row in rows] for column in columns}


def output_metric_names(outputs: Iterable[str]) -> dict[str, str]:
    """By output name, for a model's outputs in their order, the name in metrics: letters, digits, ``_`` and ``-``, at
    most 200 of them (more where a number follows), unique."""
    taken: set[str] = set()
    names = {}
    for output in outputs:
        base = name = _FORBIDDEN.sub("_", output)[:_LONGEST_NAME] or "_"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[output] = name
    return names


def _worst_classes(found: list[ClassAgreement]) -> ClassAgreement | None:
    if not found:
        return None
    fifth = [each.top5_agreement for each in found if each.top5_agreement is not None]
    return ClassAgreement(
        min(each.top1_agreement for each in found),
        min(fifth, default=None),
        max(each.kl for each in found),
    )


def _values(output: OutputFidelity) -> dict[str, float]:
    metrics = ERROR_METRICS if output.is_float else (*ERROR_METRICS, "equal_share")
    values = {metric: float(getattr(output, metric)) for metric in metrics}
    if output.classes is None:
        return values
    judged = {metric: getattr(output.classes, metric) for metric in CLASS_METRICS}
    return values | {metric: float(value) for metric, value in judged.items() if value is not None}


class FidelitySums:
    """How the outputs called `names` differ, over everything added so far, and in each batch."""

    def __init__(self, names: Iterable[str]) -> None:
        self._totals = [ErrorSums(name) for name in names]
        self._by_batch: list[tuple[OutputFidelity, ...]] = []

    @property
    def names(self) -> list[str]:
        """The outputs, in their order."""
        return [total.name for total in self._totals]

    def add(self, expected: Sequence[Any], found: Sequence[Any], class_scores: Collection[str]) -> None:
        """Add one batch of both models' outputs, in the order of `names`; those of `class_scores` hold such."""
        here = [ErrorSums(name, class_scores=name in class_scores) for name in self.names]
        for total, sums, left, right in zip(self._totals, here, expected, found, strict=True):
            sums.add(left, right)
            total.merge(sums)
        self._by_batch.append(tuple(sums.result() for sums in here))

    def merge(self, other: FidelitySums) -> None:
        """Add the batches that `other` has seen of the same outputs, behind those here."""
        for total, more in zip(self._totals, other._totals, strict=True):
            total.merge(more)
        self._by_batch += other._by_batch

    def result(self, backend: str) -> Fidelity:
        """The fidelity over everything added; `backend` executed the candidate."""
        outputs = tuple(total.result() for total in self._totals)
        return Fidelity(outputs, backend, len(self._by_batch), tuple(self._by_batch))


@dataclass(frozen=True)
class Evaluation:
    """Fidelity, the sums that it is of, and, where the data has labels, task accuracy; `metric` is that of the user's
    own, of the candidate; `judged` is what each judge found."""

    fidelity: Fidelity
    sums: FidelitySums
    task: TaskMetrics | None
    metric: float | None = None
    judged: tuple[Judged, ...] = ()

    def task_metrics(self) -> dict[str, float]:
        """The accuracy's and the judges' metrics, by the names that runs are logged under."""
        found = {} if self.task is None else self.task.metrics()
        return found | {name: value for each in self.judged for name, value in each.metrics().items()}


class Comparison:
    """Adds up how a candidate differs from the reference, batch by batch in the order of `labels`.

    Outputs are matched by name: DataError where the candidate lacks one. With labels both models' accuracy is counted
    for the first output: DataError where they do not fit; beside a `metric` of the user's own or `judges` that take
    labels, whose labels may be anything, those that are no class indices of that output are left to them. Agreement on
    classes is counted for `class_outputs` (None: those whose name says that they hold class scores) and for the output
    with labels.
    """

    def __init__(
        self,
        reference: Sequence[str],
        candidate: Sequence[str],
        labels: np.ndarray | None = None,
        metric: TaskMetric | None = None,
        class_outputs: Collection[str] | None = None,
        judges: Sequence[AskedJudge] = (),
    ) -> None:
        self._order = _order(reference, candidate)
        self._tallies = [JudgeTally(judge, labels) for judge in judges]
        self._others_take_labels = metric is not None or any(judge.takes_labels for judge in judges)
        self._class_outputs = called_class_scores(reference) if class_outputs is None else frozenset(class_outputs)
        self._labels, self._metric = labels, metric
        self._sums = FidelitySums(reference)
        self._collected: list[list[Any]] = []
        self._top: tuple[TopK, TopK] | None = None
        if labels is not None:
            with self._lenient():
                self._top = TopK(labels), TopK(labels)

    def add(self, expected: Sequence[Any], found: Sequence[Any]) -> None:
        """Add one batch of both models' outputs, each in its model's order."""
        matched = [found[index] for index in self._order]
        names = self._sums.names
        labelled = names[:1] if self._top is not None else ()
        self._sums.add(expected, matched, self._class_outputs.union(labelled))
        if self._metric is not None:
            self._collected.append(matched)
        if self._top is not None:
            with self._lenient():
                for top, output in zip(self._top, (expected[0], matched[0]), strict=True):
                    top.add(np.asarray(output))
        for tally in self._tallies:
            tally.add(names, expected, matched)

    def result(self, backend: str) -> Evaluation:
        """What was added up; `backend` executed the candidate."""
        task = None
        if self._top is not None:
            with self._lenient():
                left, right = self._top
                task = TaskMetrics(left.top1(), right.top1(), left.samples, left.top5(), right.top5())
        metric = None
        if self._metric is not None:
            metric = self._metric(joined(self._sums.names, self._collected), self._labels)
        judged = tuple(found for tally in self._tallies if (found := tally.result()) is not None)
        return Evaluation(self._sums.result(backend), self._sums, task, metric, judged)

    @contextmanager
    def _lenient(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            if not self._others_take_labels:
                raise
            self._top = None


def compare(
    reference: Session,
    candidate: Session,
    batches: Batches,
    progress: ProgressCallback = silent,
    class_outputs: Collection[str] | None = None,
) -> Fidelity:
    """The fidelity of `candidate` to `reference` over `batches`; outputs are matched by name.

    Each batch maps input names to arrays in the types and shapes that `reference` takes; `candidate` gets the same, and
    both sessions may cast them. Errors are computed in float64 by the formulas of OutputFidelity, over all elements of
    all batches; one batch is in memory at a time. `class_outputs` as Comparison takes them.

    Raises DataError where the candidate lacks an output or the data does not fit, BackendError where a model fails.
    """
    comparison = Comparison(reference.output_names, candidate.output_names, class_outputs=class_outputs)
    return _run(comparison, reference, candidate, batches, progress).fidelity


def evaluate(
    reference: Session,
    candidate: Session,
    batches: Batches,
    progress: ProgressCallback = silent,
    metric: TaskMetric | None = None,
    class_outputs: Collection[str] | None = None,
    judges: Sequence[AskedJudge] = (),
) -> Evaluation:
    """`compare`, and in the same pass accuracy, the metric of the user's own and what `judges` find.

    With labels (integers, shape [samples, …]; one class index a row of the first output, [batch, …, classes]) the task
    metrics are top-1 and top-5 accuracy of both models, shares from 0 to 1. `metric` is called once, with each output
    of all batches joined along the first axis: they stay in memory. `judges` see one batch at a time.

    Raises as `compare`; DataError too where labels and outputs do not fit or a judge cannot read the outputs,
    ConfigError where `metric` fails.
    """
    names = reference.output_names, candidate.output_names
    comparison = Comparison(*names, batches.labels, metric, class_outputs, judges)
    return _run(comparison, reference, candidate, batches, progress)


def _run(
    comparison: Comparison, reference: Session, candidate: Session, batches: Batches, progress: ProgressCallback
) -> Evaluation:
    for number, feeds in enumerate(batches):
        progress(Progress("evaluate", number, len(batches), "batches"))
        comparison.add(reference.run(feeds), candidate.run(feeds))
    progress(Progress("evaluate", len(batches), len(batches), "batches"))
    return comparison.result(candidate.backend)


def _order(reference: Iterable[str], candidate: Iterable[str]) -> list[int]:
    places = {name: index for index, name in enumerate(candidate)}
    missing = [name for name in reference if name not in places]
    if missing:
        raise DataError(
            f"the candidate has no output {missing[0]!r} (it has {', '.join(places)}); compare two forms of one model"
        )
    return [places[name] for name in reference]
