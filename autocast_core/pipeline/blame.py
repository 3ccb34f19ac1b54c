"""Whether the source is to blame for what a stage could not do."""

from __future__ import annotations

import onnx

from autocast_core.model import load_proto, model_structure
from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION, structure_of
from autocast_core.pipeline.job import Job
from autocast_core.verify.checker import checker_finding


def source_finding(job: Job) -> str | None:
    """What onnx.checker's full check says against the job's source as it is, None where it accepts it."""
    if isinstance(job.source, onnx.ModelProto):
        structure = structure_of(load_proto(job.source)).data
    else:
        structure = model_structure(job.source, WEIGHTS_LOCATION)
    return checker_finding(structure, full=True)
