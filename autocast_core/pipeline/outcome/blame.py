"""Whether the source is to blame for what a stage could not do."""

from __future__ import annotations

import onnx

from autocast_core.calibrate import custom_nodes
from autocast_core.model import load_proto, model_structure
from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION, structure_of
from autocast_core.operators import infer_missing_types
from autocast_core.pipeline.job import Job
from autocast_core.verify.checker import checker_finding


def source_finding(job: Job) -> str | None:
    """What onnx.checker's full check says against the job's source, None where it accepts it."""
    if isinstance(job.source, onnx.ModelProto):
        structure = structure_of(load_proto(job.source)).data
    else:
        structure = model_structure(job.source, WEIGHTS_LOCATION)
    return checker_finding(structure, full=True) or _finding_with_types(job)


def _finding_with_types(job: Job) -> str | None:
    """What the check says once the values that custom operators make have the types that operator facts give them."""
    model = job.original().clone()
    if not custom_nodes(model):
        return None
    infer_missing_types(model)
    return checker_finding(structure_of(model).data, full=True)
