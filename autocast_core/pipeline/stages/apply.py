"""Apply: the model that the plan describes."""

from __future__ import annotations

from autocast_core.apply import apply_in_place
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.plan import PrecisionPlan


def apply(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan) -> Converted:
    """The sanitized model with types and casts as `plan` says. Raises as `apply_plan`."""
    applied = apply_in_place(job.own(planned_model(sanitized.model, plan)), plan)
    return Converted(applied.model, applied.plan, applied.casts_inserted)


APPLY = Stage("apply", apply, (SanitizedSource, PrecisionPlan), Converted)
