"""Load: the source, seen to be valid ONNX."""

from __future__ import annotations

from dataclasses import replace

import onnx
import onnx_ir as ir

from autocast_core.errors import ModelError
from autocast_core.model import load_proto, model_files, open_model, read_model
from autocast_core.pipeline.artifacts import LoadedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.sanitize import repair_in_place
from autocast_core.sanitize.change import Change
from autocast_core.verify import check_source, load_checked, model_interface


def load(job: Job) -> LoadedSource:
    """The job's source; its weights stay where they are.

    What the checker misses and a repair adds is added, unless ``strict_source``. ModelError where the source is missing
    or not valid ONNX.
    """
    if isinstance(job.source, onnx.ModelProto):
        model = load_proto(job.source)
        try:
            check_source(model)
        except ModelError as error:
            return _repaired(job, model, error)
        return LoadedSource(model, model_interface(model))
    file = open_model(job.source)
    files = model_files(file)
    try:
        model = load_checked(file)
    except ModelError as error:
        return replace(_repaired(job, read_model(file), error), files=files)
    return LoadedSource(model, model_interface(model), files)


def _repaired(job: Job, model: ir.Model, refusal: ModelError) -> LoadedSource:
    """The model after repairs; ModelError where they are not enough, `refusal` where none may be made.

    Reading and writing a model anew gives the default domain one name, which a file may also call ai.onnx.
    """
    changes = repair_in_place(model, job.config)
    if not changes:
        if job.config.strict_source or "No opset import for domain 'ai.onnx'" not in str(refusal):
            raise refusal
        changes = (Change("domains", "the default domain, which the model also calls ai.onnx, has one name"),)
    check_source(model)
    return LoadedSource(model, model_interface(model), changes=changes)


LOAD = Stage("load", load, (), LoadedSource)
