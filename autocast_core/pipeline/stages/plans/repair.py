"""Repair: the plan as the simulated model shows that it must be."""

from __future__ import annotations

import onnx_ir as ir
from msgspec import structs

from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.evaluate import Evaluated
from autocast_core.pipeline.stages.plans.cheaper_casts import with_casts_placed
from autocast_core.plan import PrecisionPlan
from autocast_core.search.repair.repair_plan import repair_plan
from autocast_core.search.repair.target import target_of
from autocast_core.search.request import SearchSubject

MOST_WEIGHT_BYTES = 1_000_000_000


def repair(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan, evaluated: Evaluated) -> PrecisionPlan:
    """`plan`, of which the model was `evaluated`, with what its target needs in FP32 and without what that does not;
    where that changed nodes, with Casts placed anew.

    It is repaired on the calibration data, else on the evaluation data, else on seeded random data. Models of more than
    1 GB of weights keep their plan, which says so. DataError where the data does not fit.
    """
    model = planned_model(sanitized.model, plan)
    weights = weight_bytes(model)
    if weights > MOST_WEIGHT_BYTES:
        skipped = f"not repaired: {weights / 1e9:.1f} GB of weights; search for a plan with `autocast tune`"
        return structs.replace(plan, warnings=(*plan.warnings, skipped))
    original = job.original()
    batches = job.batches(original, job.calibration or job.evaluation)
    subject = SearchSubject(model, batches, job.runtime, job.config, original, sanitized.changes)
    target = target_of(job.gates, plan.precision, evaluated.metrics, evaluated.names)
    repaired = repair_plan(subject, plan, target, job.config.repair_evaluations, job.progress)
    if repaired.nodes == plan.nodes:
        return repaired
    return with_casts_placed(job, model, repaired, job.calibration or job.evaluation)


def weight_bytes(model: ir.Model) -> int:
    """The bytes of the initializers of the main graph."""
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)


REPAIR = Stage("repair", repair, (SanitizedSource, PrecisionPlan, Evaluated), PrecisionPlan)
