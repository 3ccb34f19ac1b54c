"""Decide: every node's precision, from the statistics and the weights."""

from __future__ import annotations

from msgspec.structs import replace

from autocast_core import decide as decisions
from autocast_core.calibrate import Statistics, scan_weights
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.plan import PrecisionPlan
from autocast_core.version import VERSION


def decide(job: Job, sanitized: SanitizedSource, statistics: Statistics) -> PrecisionPlan:
    """The plan that the rules make. ModelError where a weight cannot be read."""
    weights = scan_weights(sanitized.model, job.config.precision, job.progress)
    plan = decisions.decide(sanitized.model, statistics, weights, job.config, sanitized.changes)
    return replace(plan, engine_version=VERSION)


DECIDE = Stage("decide", decide, (SanitizedSource, Statistics), PrecisionPlan)
