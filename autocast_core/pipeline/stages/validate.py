"""Validate: what TensorRT, where it is installed, makes of a model in a file."""

from __future__ import annotations

from pathlib import Path

from autocast_core.engine.devices import devices
from autocast_core.engine.validation import Validation
from autocast_core.model import ModelRef
from autocast_core.pipeline.job import Job
from autocast_core.plan import PrecisionPlan


def validate(
    job: Job, candidate: ModelRef, plan: PrecisionPlan | None = None, engine: Path | None = None
) -> Validation:
    """Parse and build the model at `candidate`; on a GPU also run it beside the job's source, which is a file too.

    Runs are on the evaluation data, else on the calibration data, else on seeded random data. Types are compared with
    `plan` where it is given. Shapes of dynamic inputs are those of the config's profiles, else of the data. Times of
    engines are estimated for the config's device. `engine` is a file to write the engine to. DataError where the data
    does not fit the model.
    """
    from autocast_core.backends.tensorrt.execution import EngineTrial
    from autocast_core.backends.tensorrt.validate import validate_model
    from autocast_core.targets.fitting import engine_options

    assert isinstance(job.source, ModelRef), "TensorRT reads models from files"
    data = job.evaluation or job.calibration
    batches, model = job.batches(job.original(), data), job.cache.model(candidate)
    options = engine_options(model, job.config, batches if data is not None else None)
    trial = EngineTrial(job.source.path, batches, progress=job.progress)
    reference = job.source.path if job.config.fp32_engine else None
    found = validate_model(candidate.path, plan, options, model=model, trial=trial, engine=engine, reference=reference)
    return found.estimated_on(devices()[job.config.device])
