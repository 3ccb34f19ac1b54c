"""Carrying a plan's decisions over to another depth of the same family; nothing is measured."""

from __future__ import annotations

from dataclasses import replace

from autocast_core.calibrate import Statistics, scan_weights
from autocast_core.config import ConversionConfig
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.errors import PlanError
from autocast_core.model import ModelSource
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_config
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.decide import DECIDE
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan
from autocast_core.plan.counterparts import Transferred, transferred
from autocast_core.progress import ProgressCallback, silent


def transfer_plan(src: ModelSource, plan: PrecisionPlan, progress: ProgressCallback = silent) -> Transferred:
    """`plan`, made for another depth of the family, for the model at `src`.

    What has no counterpart is decided by the rules as far as they need no data. Repairs of range are not carried: they
    need the new model's ranges. Raises as convert_file, and PlanError where no node has a counterpart.
    """
    config = replace(planned_config(ConversionConfig(), plan), repair_ranges=False)
    job = Job(src, config, progress=progress)
    made = run_stages((LOAD, SANITIZE, DECIDE), in_this_process(job), Artifacts({Statistics: Statistics()}))
    found = transferred(plan, made[PrecisionPlan])
    if not found.carried:
        raise PlanError("no node of the model has a counterpart in the plan: give a plan of the same family")
    model, fresh = made[SanitizedSource].model, made[PrecisionPlan]
    own = with_own_signs(model, found.plan, fresh, scan_weights(model, plan.precision, progress))
    return replace(found, plan=own)
