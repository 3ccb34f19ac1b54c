"""Load: the source, seen to be valid ONNX."""

from __future__ import annotations

import onnx

from autocast_core.model import load_proto, model_files, open_model
from autocast_core.pipeline.artifacts import LoadedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.verify import check_source, load_checked, model_interface


def load(job: Job) -> LoadedSource:
    """The job's source; its weights stay where they are. ModelError where it is missing or not valid ONNX."""
    if isinstance(job.source, onnx.ModelProto):
        model = load_proto(job.source)
        check_source(model)
        return LoadedSource(model, model_interface(model))
    file = open_model(job.source)
    files, model = model_files(file), load_checked(file)
    return LoadedSource(model, model_interface(model), files)


LOAD = Stage("load", load, (), LoadedSource)
