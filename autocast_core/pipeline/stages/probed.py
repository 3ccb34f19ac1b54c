"""The pass that tells which nodes a converted model's error comes from, as a job makes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from autocast_core.config import Precision
from autocast_core.data import Batches
from autocast_core.operators import OperandPolicy
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.plan import PrecisionPlan
from autocast_core.runtime import Session
from autocast_core.search.attribution import Attribution, Probing

LOG = logging.getLogger(__name__)
MOST_BATCHES = 8
"""The pass takes no more of them: a few say as much."""


def lowered(plan: PrecisionPlan) -> Mapping[str, Precision]:
    """The nodes that `plan` lowers, by id, and to what."""
    return {each.id: each.precision for each in plan.nodes if each.precision.is_low}


def evaluation_batches(job: Job, sanitized: SanitizedSource) -> Batches:
    """The job's evaluation data, else its calibration data, else seeded random data, for the sanitized model."""
    return job.batches(sanitized.model, job.evaluation or job.calibration)


def probing(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan, batches: Batches) -> Probing:
    """The pass over `batches` for the plan's model."""
    model = planned_model(sanitized.model, plan)
    return Probing.of(model, lowered(plan), job.config.precision, OperandPolicy.of_plan(model, plan), batches)


def attributed(job: Job, made: Callable[[], Probing], opened: Callable[[Probing], Session]) -> Attribution:
    """What the pass that `made` gives shows in the session `opened` for it; where it cannot be had, `skipped` says why:
    a report without this part is better than no conversion."""
    try:
        found = made()
        return found.attribution(lambda: opened(found), job.progress)
    except Exception as error:
        LOG.warning("errors are not attributed to nodes: %s", error)
        return Attribution(skipped=f"{type(error).__name__}: {error}")
