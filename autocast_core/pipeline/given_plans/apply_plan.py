"""Applying a given plan to a model: nothing is measured or decided anew."""

from __future__ import annotations

from pathlib import Path

from autocast_core.config import ConversionConfig
from autocast_core.errors import ConfigError
from autocast_core.model import ModelSource
from autocast_core.model.atomic import check_destination
from autocast_core.pipeline.convert import Conversion, write_converted
from autocast_core.pipeline.job import Data, Job
from autocast_core.pipeline.planned_graph import planned_config
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.reuse import REUSE
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from autocast_core.process.garbage_collector import collector_paused
from autocast_core.progress import ProgressCallback, silent


@collector_paused()
def apply_plan_file(
    src: ModelSource,
    dst: str | Path,
    plan: PrecisionPlan,
    config: ConversionConfig | None = None,
    *,
    calibration: Data = None,
    external_data: bool | None = None,
    progress: ProgressCallback = silent,
) -> Conversion:
    """Write the model at `src` to `dst` with the precisions of `plan`.

    The plan is checked against the model's structure and weights; its precision wins over the config's. `calibration`
    serves only to check an upgrade of the opset. Raises PlanError for a plan of another structure, and as convert_file.
    """
    if not isinstance(plan, PrecisionPlan):
        raise ConfigError(f"the plan is a {type(plan).__name__}: give a PrecisionPlan, as read_plan returns")
    check_destination(Path(dst), 0)
    job = Job(src, planned_config(config or ConversionConfig(), plan), calibration, progress=progress)
    return write_converted(job, apply_plan_in_memory(job, plan), dst, external_data)


def apply_plan_in_memory(job: Job, plan: PrecisionPlan) -> Artifacts:
    """All that applying `plan` to the job's source makes, up to the verified model; nothing is written."""
    given = Artifacts({PrecisionPlan: plan})
    return run_stages((LOAD, SANITIZE, REUSE, APPLY, VERIFY), in_this_process(job), given)
