"""`autocast plan place-casts`: the last pass over a plan, on the model that it is for."""

from __future__ import annotations

from autocast_core.calibrate import scan_weights
from autocast_core.config import ConversionConfig
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.model import ModelSource
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_config, planned_graph
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.reuse import REUSE
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan
from autocast_core.progress import ProgressCallback, silent
from autocast_core.search.costs.cast_placement import place_casts
from autocast_core.search.costs.measured_sizes import measured_sizes


def place_casts_file(src: ModelSource, plan: PrecisionPlan, progress: ProgressCallback = silent) -> PrecisionPlan:
    """`plan` for the model at `src` with its Casts placed; ``data.placement`` has what that changes.

    Sizes of tensors are those of one sample. Raises as apply_plan_file.
    """
    job = Job(src, planned_config(ConversionConfig(), plan), progress=progress)
    made = run_stages((LOAD, SANITIZE, REUSE), in_this_process(job), Artifacts({PrecisionPlan: plan}))
    fitted = made[PrecisionPlan]
    model = planned_graph(made[SanitizedSource], fitted).model
    counts = measured_sizes(model, next(iter(job.batches(model, None)), {}), job.runtime)
    placed = place_casts(model, fitted, counts)
    return with_own_signs(model, placed, fitted, scan_weights(model, plan.precision, progress))
