"""Fit: the plan as the target engine accepts it."""

from __future__ import annotations

from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.plan import PrecisionPlan


def fit(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan) -> PrecisionPlan:
    """`plan`, changed until ``config.target`` accepts the model; what the target said is in it.

    The calibration data gives dynamic inputs their shapes. ConfigError for an unknown target or profile.
    """
    from autocast_core.targets.fitting import fit_to_target

    model = planned_model(sanitized.model, plan)
    return fit_to_target(model, plan, job.config, job.calibration_batches(model)).plan


FIT = Stage("fit", fit, (SanitizedSource, PrecisionPlan), PrecisionPlan)
