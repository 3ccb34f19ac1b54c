"""Reuse: a given plan, fitted to this model's weights."""

from __future__ import annotations

from autocast_core.decide.reuse import reuse_plan
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.upgrade_check import check_upgrade
from autocast_core.plan import PrecisionPlan


def reuse(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan) -> PrecisionPlan:
    """`plan`, with the nodes in FP32 whose weights here are beyond its type.

    PlanError where it was made for another structure.
    """
    check_upgrade(job, sanitized, job.calibration_batches(sanitized.model))
    return reuse_plan(planned_model(sanitized.model, plan), plan, job.config.init_max, job.progress)


REUSE = Stage("reuse", reuse, (SanitizedSource, PrecisionPlan), PrecisionPlan)
