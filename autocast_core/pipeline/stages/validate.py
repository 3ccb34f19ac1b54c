"""Validate: what TensorRT, where it is installed, makes of a model in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from autocast_core.data import Batches
from autocast_core.engine.devices import devices
from autocast_core.engine.validation import Validation
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.model import ModelRef
from autocast_core.pipeline.job import Job
from autocast_core.plan import PrecisionPlan


def validate(
    job: Job, candidate: ModelRef, plan: PrecisionPlan | None = None, engine: Path | None = None
) -> Validation:
    """Parse and build the model at `candidate`; on a GPU also run it beside the job's source, which is a file too.

    Runs are on the evaluation data, else on the calibration data, else on seeded random data. Types are compared with
    `plan` where it is given. Shapes of dynamic inputs are those of the config's profiles, else of the data. Where no
    engine can be built (TensorRT is not installed, say), a model of fusion tells the kernels. Times of engines are
    estimated for the config's device. `engine` is a file to write the engine to. DataError where the data does not fit
    the model.
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
    if found.engine_view is None and not found.findings and found.depth in ("none", "parsed"):
        found = _with_model_of_fusion(found, job, model, batches)
    return found.estimated_on(devices()[job.config.device])


def _with_model_of_fusion(found: Validation, job: Job, model: ir.Model, batches: Batches) -> Validation:
    """The validation with what a model of fusion expects of both engines, as neither was built."""
    feeds = next(iter(batches))
    if not all(isinstance(each, np.ndarray) for each in feeds.values()):
        return found
    mixed, fp32 = (estimated_view(each, static_shapes(each, feeds)) for each in (model, job.original()))
    said = "no engine was built: kernels, traffic and estimated times are those of a model of fusion (fusion/*)"
    return replace(found, engine_view=mixed, fp32_view=fp32, skipped=(*found.skipped, said))
