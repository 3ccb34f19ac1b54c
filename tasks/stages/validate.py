"""Stage: validate a model with TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from autocast_core.engine.validation import Validation
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.saved import JobRequest
from tasks.isolation import isolated
from tasks.progress import report

VALIDATION_FILE = "tensorrt/validation.json"
"""The whole validation among the artifacts of a run of validate-on-tensorrt, for whoever asked for it."""


def validate_model(
    request: JobRequest,
    candidate: ModelRef,
    requested: str = "if_available",
    plan: Path | None = None,
    engine: Path | None = None,
) -> Validation:
    """What TensorRT makes of the model at `candidate`; see autocast_core.pipeline.stages.validate.

    `requested` is the spec's ``validation``; ``off`` skips, as does a machine without TensorRT, with the reason.
    """
    if requested == "off":
        return Validation(skipped=("validation is off",))
    from autocast_core.pipeline.stages.validate import validate

    job = request.job(report)
    return validate(job, candidate, None if plan is None else job.cache.plan(plan), engine)


def artifacts(found: Validation) -> tuple[dict[str, str], dict[str, dict[str, list[Any]]]]:
    """What a run keeps of a validation: texts and tables by artifact path; nothing where no engine looked."""
    texts: dict[str, str] = {}
    tables: dict[str, dict[str, list[Any]]] = {}
    if found.log:
        texts["tensorrt/build.log"] = "\n".join(found.log) + "\n"
    if found.layers:
        tables["tensorrt/layers.json"] = {
            "node": [each.node for each in found.layers],
            "operator": [each.op for each in found.layers],
            "layer": [each.layer for each in found.layers],
            "types": [", ".join(each.types) for each in found.layers],
            "expected": [", ".join(each.expected) for each in found.layers],
        }
    if found.engine_view is not None:
        kernels = found.engine_view.kernels
        tables["tensorrt/kernels.json"] = {
            "kernel": [each.name for each in kernels],
            "kind": [each.kind for each in kernels],
            "nodes": [", ".join(each.nodes) for each in kernels],
            "reads": [", ".join(each.reads) for each in kernels],
            "writes": [", ".join(each.writes) for each in kernels],
            "read_bytes": [each.read_bytes for each in kernels],
            "written_bytes": [each.written_bytes for each in kernels],
            "flops": [each.flops for each in kernels],
            "stream": [each.stream for each in kernels],
            "only_moves": [each.only_moves for each in kernels],
        }
    if found.execution is not None and found.execution.layers:
        layers = found.execution.layers
        tables["tensorrt/engine_layers.json"] = {
            "layer": [each.name for each in layers],
            "kind": [each.kind for each in layers],
            "nodes": [", ".join(each.nodes) for each in layers],
            "reads": [", ".join(each.reads) for each in layers],
            "writes": [", ".join(each.writes) for each in layers],
        }
    return texts, tables


validate_isolated = isolated(validate_model, Validation, name="validate")
validate_task = task(name="validate", persist_result=True)(validate_isolated)
