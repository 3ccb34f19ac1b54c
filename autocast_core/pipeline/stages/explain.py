"""Explain: which nodes the converted model's error comes from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from autocast_core.data import Batches
from autocast_core.evaluate.metric_names import SIMULATION
from autocast_core.operators import OperandPolicy
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_graph
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.plan import PrecisionPlan
from autocast_core.search.attribution import Attribution, attribute

LOG = logging.getLogger(__name__)
MOST_BATCHES = 8


def explain(
    job: Job, sanitized: SanitizedSource, plan: PrecisionPlan, evaluated: Evaluated | None = None
) -> Attribution:
    """The error of the plan's model by node, on at most eight batches of the evaluation data, else of the calibration
    data, else of seeded random data: the first ones, and the one in which the model was `evaluated` worst.

    It explains and decides nothing: where it cannot be had, `skipped` says why.
    """
    sanitized = planned_graph(sanitized, plan)
    low = {each.id: each.precision for each in plan.nodes if each.precision.is_low}
    if not low:
        return Attribution(skipped="no node is lowered")
    batches = _some(job.batches(sanitized.model, job.evaluation or job.calibration), evaluated)
    policy = OperandPolicy.of_plan(sanitized.model, plan)
    try:
        return attribute(sanitized.model, low, job.config.precision, policy, batches, job.runtime, job.progress)
    except Exception as error:
        # A report without this part is better than no conversion.
        LOG.warning("errors are not attributed to nodes: %s", error)
        return Attribution(skipped=f"{type(error).__name__}: {error}")


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
