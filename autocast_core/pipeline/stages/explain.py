"""Explain: which nodes the converted model's error comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Literal

import numpy as np

from autocast_core.data import Batches
from autocast_core.evaluate.metric_names import SIMULATION
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.pipeline.stages.probed import MOST_BATCHES, attributed, evaluation_batches, lowered, probing
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution


def explain(
    job: Job, sanitized: SanitizedSource, plan: PrecisionPlan, evaluated: Evaluated | None = None
) -> Attribution:
    """The error of the plan's model by node, on at most eight batches of the evaluation data, else of the calibration
    data, else of seeded random data: the first ones, and the one in which the model was `evaluated` worst. Where the
    evaluation ran in segments, it has attributed the error on its way.

    It explains and decides nothing: where it cannot be had, `skipped` says why.
    """
    if evaluated is not None and evaluated.attribution is not None:
        return Attribution.from_json(json.loads(evaluated.attribution))
    if not lowered(plan):
        return Attribution(skipped="no node is lowered")
    batches = _some(evaluation_batches(job, sanitized), evaluated)
    return attributed(job, partial(probing, job, sanitized, plan, batches), lambda found: found.open(job.runtime))


def _some(batches: Batches, evaluated: Evaluated | None) -> _SomeBatches:
    """At most MOST_BATCHES, the first ones and the worst."""
    numbers = range(min(MOST_BATCHES, len(batches)))
    fidelity = None if evaluated is None else evaluated.fidelity.get(SIMULATION)
    worst = None if fidelity is None else fidelity.worst_batch.get("sqnr_db")
    if worst is None or worst.batch in numbers:
        return _SomeBatches(batches, frozenset(numbers))
    return _SomeBatches(batches, frozenset((*numbers[:-1], worst.batch)))


@dataclass(frozen=True)
class _SomeBatches:
    """The batches of these `numbers` of `whole`, without labels."""

    whole: Batches
    numbers: frozenset[int]

    @property
    def origin(self) -> Literal["calibration", "random"]:
        return self.whole.origin

    @property
    def digest(self) -> str:
        return self.whole.digest

    @property
    def labels(self) -> np.ndarray | None:
        return None

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        until = islice(enumerate(self.whole), max(self.numbers, default=-1) + 1)
        return (feeds for number, feeds in until if number in self.numbers)


EXPLAIN = Stage("explain", explain, (SanitizedSource, PrecisionPlan, Evaluated), Attribution)
