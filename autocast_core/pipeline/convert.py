"""Converting a model: the stages that decide, apply and verify, in their order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autocast_core.config import ConversionConfig
from autocast_core.model import ModelSource, SavedModel, files_digest, save_model
from autocast_core.model.atomic import check_destination, check_inputs_stay, model_outputs
from autocast_core.pipeline.artifacts import Converted, LoadedSource, SanitizedSource
from autocast_core.pipeline.job import Data, Job, files_of_data, open_rounding
from autocast_core.pipeline.outcome.gain import no_gain
from autocast_core.pipeline.stage import Artifacts, Stage, in_this_process, run_stages
from autocast_core.pipeline.stages.apply import APPLY
from autocast_core.pipeline.stages.calibrate import CALIBRATE
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.decide import DECIDE
from autocast_core.pipeline.stages.plans.fit import FIT
from autocast_core.pipeline.stages.plans.free import FREE_STAGE, acts
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.pipeline.stages.verify import VERIFY
from autocast_core.plan import PrecisionPlan
from autocast_core.process.garbage_collector import collector_paused
from autocast_core.process.notebook_hook import notebook_html
from autocast_core.progress import ProgressCallback, silent
from autocast_core.verify import Verified

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Conversion:
    """What a conversion made: the plan as applied, the written files, counts, and seconds per stage.

    `source` are the source's files, the model first; bytes are those of all files of the model.
    """

    plan: PrecisionPlan
    output: SavedModel
    source: tuple[Path, ...]
    casts_inserted: int
    bytes_before: int
    bytes_after: int
    warnings: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def source_digest(self) -> str:
        """sha256 (hex) of the source's files as model.files_digest says; read when first asked for."""
        return files_digest(self.source[0].parent, self.source)

    def _repr_html_(self) -> str:
        return notebook_html(self)


def planning_stages(config: ConversionConfig) -> tuple[Stage, ...]:
    """The stages that lead from a source to its plan."""
    free = (FREE_STAGE,) if acts(config) else ()
    fit = () if config.target is None else (FIT,)
    planned = (SANITIZE, CALIBRATE, DECIDE, *free, *fit)
    if not config.correct_biases:
        return planned
    from autocast_core.pipeline.stages.plans.correct_biases import CORRECT_BIASES

    return (*planned, CORRECT_BIASES)


@collector_paused()
def convert_file(
    src: ModelSource,
    dst: str | Path,
    config: ConversionConfig | None = None,
    *,
    calibration: Data = None,
    plan: PrecisionPlan | None = None,
    external_data: bool | None = None,
    progress: ProgressCallback = silent,
) -> Conversion:
    """Convert the model at `src` and write it to `dst`, streaming: weights are never all in memory.

    `calibration` is a .npz file, a folder of them, Polygraphy JSON, or arrays by input name; None: seeded random data.
    With a `plan`, this is `apply_plan_file`. Raises the errors of the stages (InputError and its children for what the
    user gave, VerificationError for a bug in AutoCast Flow; with ``decide: measured`` MissedTargetError where the
    simulated model is ruined); nothing is written then.
    """
    if plan is not None:
        from autocast_core.pipeline.given_plans.apply_plan import apply_plan_file

        return apply_plan_file(
            src, dst, plan, config, calibration=calibration, external_data=external_data, progress=progress
        )
    check_destination(Path(dst), 0)
    job = Job(src, config or ConversionConfig(), calibration, progress=progress)
    made = convert_in_memory(job)
    if job.config.decide == "measured":
        from autocast_core.pipeline.measured import require_target

        require_target(job, made)
    return write_converted(job, made, dst, external_data)


def convert_in_memory(job: Job) -> Artifacts:
    """All that converting the job's source makes, up to the verified model; nothing is written. With
    ``decide: measured`` it was evaluated too."""
    around = in_this_process(job)
    planned = run_stages((LOAD, *planning_stages(job.config)), around)
    if job.config.decide == "thresholds":
        return run_stages((APPLY, VERIFY), around, planned)
    from autocast_core.pipeline.measured import measured_model

    return measured_model(job, planned, around, around)


def write_converted(job: Job, made: Artifacts, dst: str | Path, external_data: bool | None = None) -> Conversion:
    """Write the verified model to `dst`, as `save_model` does, and sum up what was made.

    OutputError where that would replace a file of the source's or of the calibration data's.
    """
    source, converted = made[LoadedSource], made[Converted]
    check_inputs_stay(model_outputs(Path(dst)), (*source.files, *files_of_data(job.calibration)))
    with job.timed("write"):
        output = save_model(
            made[Verified].structure,
            dst,
            external_data=external_data,
            progress=job.progress,
            round_blocks=open_rounding(converted.plan.precision),
        )
    for line in (converted.plan.summary(), converted.plan.measured_summary()):
        if line is not None:
            LOG.info("%s", line)
    bytes_before = sum(each.stat().st_size for each in source.files)
    gain = no_gain(bytes_before, output.bytes, converted.casts_inserted)
    if gain is not None:
        LOG.warning("%s", gain)
    return Conversion(
        plan=converted.plan,
        output=output,
        source=source.files,
        casts_inserted=converted.casts_inserted,
        bytes_before=bytes_before,
        bytes_after=output.bytes,
        warnings=(*made[SanitizedSource].warnings, *converted.plan.warnings, *((gain,) if gain else ())),
        timings=job.timings,
    )
