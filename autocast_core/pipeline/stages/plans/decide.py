"""Decide: every node's precision, from the statistics and the weights."""

from __future__ import annotations

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core import decide as decisions
from autocast_core.calibrate import Statistics, scan_weights
from autocast_core.config import Precision
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs import find_range_repairs, repair_ranges_in_place
from autocast_core.version import VERSION

LARGEST = 8192.0
"""What repairs of range take as the limit where data_max is larger: an eighth of FP16's largest number."""


def decide(job: Job, sanitized: SanitizedSource, statistics: Statistics) -> PrecisionPlan:
    """The plan that the rules make; by measurement with its Casts placed.

    With ``repair_ranges`` it is for the graph after repairs of range, which the plan names: see `planned_graph`.
    ModelError where a weight cannot be read.
    """
    model, changes = sanitized.model, sanitized.changes
    if job.config.repair_ranges and job.config.precision is Precision.FP16:
        repairs = _repairs(model, statistics, min(job.config.data_max, LARGEST))
        if repairs:
            repaired = repair_ranges_in_place(model.clone(), repairs)
            model, statistics, changes = repaired.model, statistics.rescaled(repaired.rescaled), (*changes, *repairs)
    precision = job.config.precision
    weights = scan_weights(model, precision, job.progress, job.cache.scanned(precision))
    plan = decisions.decide(model, statistics, weights, job.config, changes)
    if job.config.decide == "measured":
        # It imports the search and the model of fusion, without which a decision by thresholds starts 0.1 s sooner.
        from autocast_core.pipeline.stages.plans.cheaper_casts import with_casts_placed

        plan = with_casts_placed(job, model, plan, job.calibration)
    return replace(plan, engine_version=VERSION)


def _repairs(model: ir.Model, statistics: Statistics, limit: float) -> tuple[Change, ...]:
    def magnitude(value: ir.Value) -> float | None:
        stats = statistics.tensors.get(str(value.name))
        return None if stats is None else stats.absmax

    return find_range_repairs(model, magnitude, limit)


DECIDE = Stage("decide", decide, (SanitizedSource, Statistics), PrecisionPlan)
