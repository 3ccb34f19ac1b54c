"""A judge at work: it is given batch after batch, and says what it found."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast_core.errors import AutocastError, DataError
from autocast_core.evaluate.judges.asked import AskedJudge
from autocast_core.evaluate.judges.judge import JudgeSums, LabelRows, Outputs
from autocast_core.evaluate.metric_names import of_judge

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What one judge found: its metrics over all batches, and by metric the worst batch's value and that batch."""

    judge: str
    values: Mapping[str, float]
    worst: Mapping[str, tuple[float, int]]
    batches: int

    def metrics(self) -> dict[str, float]:
        """By the names that runs are logged under: ``task/JUDGE/METRIC`` and ``task/JUDGE/worst_batch/METRIC``."""
        found = {of_judge(self.judge, name): value for name, value in self.values.items()}
        return found | {self._of_batches(name): value for name, (value, _) in self.worst.items()}

    def places(self) -> dict[str, str]:
        """By metric name the batch, counted from 0, that the worst value was found in."""
        text = {name: f"batch {batch} of {self.batches}" for name, (_, batch) in self.worst.items()}
        return {self._of_batches(name): place for name, place in text.items()} | {
            of_judge(self.judge, name): f"worst in {place}" for name, place in text.items()
        }

    def _of_batches(self, metric: str) -> str:
        return of_judge(self.judge, metric, worst_batch=True)


class JudgeTally:
    """Adds up what a judge sees. One that nobody asked for is silent where it cannot read the outputs or the labels."""

    def __init__(self, asked: AskedJudge, labels: np.ndarray | None) -> None:
        self._asked = asked
        self._labels = LabelRows(labels if asked.takes_labels else None)
        self._start: Callable[[], JudgeSums] | None = None
        self._total: JudgeSums | None = None
        self._worst: dict[str, tuple[float, int]] = {}
        self._batches = 0
        self._is_silent = False

    def add(self, names: Sequence[str], expected: Sequence[Any], found: Sequence[Any]) -> None:
        """Add one batch of both models' outputs, in the order of `names`.

        DataError where the judge cannot read them, or labels do not fit; ConfigError for options that do not fit.
        """
        if self._is_silent:
            return
        try:
            self._add(*_arrays(names, expected, found))
        except AutocastError as error:
            self._fall_silent(error)
        self._batches += 1

    def _add(self, expected: Outputs, found: Outputs) -> None:
        judge = self._asked.judge
        if not expected:
            raise judge.unreadable(expected, "no output is a tensor")
        if self._start is None or self._total is None:
            self._start = judge.start(expected, self._asked.options)
            self._total = self._start()
        here = self._start()
        here.add(expected, found, self._labels)
        self._keep_worse(here)
        self._total.merge(here)

    def _keep_worse(self, here: JudgeSums) -> None:
        values = here.result() if any(metric.by_batch for metric in self._asked.judge.metrics) else {}
        for metric in self._asked.judge.metrics:
            value = values.get(metric.name)
            if not metric.by_batch or value is None:
                continue
            known = self._worst.get(metric.name)
            if known is None or (value < known[0] if metric.higher_is_better else value > known[0]):
                self._worst[metric.name] = value, self._batches

    def result(self) -> Judged | None:
        """What was found; None where nothing was. DataError where labels are left over."""
        if self._is_silent or self._total is None:
            return None
        try:
            self._labels.require_all_taken()
        except AutocastError as error:
            self._fall_silent(error)
            return None
        return Judged(self._asked.judge.name, self._total.result(), dict(self._worst), self._batches)

    def _fall_silent(self, error: AutocastError) -> None:
        if self._asked.is_asked:
            if isinstance(error, DataError) and self._labels.exist and "labels" in str(error):
                raise DataError(f"{error}; or omit them: judges: {self._asked.judge.name}:labels=off") from error
            raise error
        _LOG.info("judge %s, which the outputs' names speak for, does not judge: %s", self._asked.judge.name, error)
        self._is_silent = True


def _arrays(names: Sequence[str], expected: Sequence[Any], found: Sequence[Any]) -> tuple[Outputs, Outputs]:
    """The outputs that are tensors in both models."""
    pairs = {
        name: (left, right)
        for name, left, right in zip(names, expected, found, strict=True)
        if isinstance(left, np.ndarray) and isinstance(right, np.ndarray)
    }
    return {name: left for name, (left, _) in pairs.items()}, {name: right for name, (_, right) in pairs.items()}
