"""Stage: validate a model with TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from autocast_core.engine.devices import DeviceFigures, devices
from autocast_core.engine.roofline import Estimate, kernel_seconds
from autocast_core.engine.validation import FP32, MIXED, Validation
from autocast_core.engine.view import EngineView, Kernel
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.saved import JobRequest
from tasks.isolation import isolated
from tasks.prefect.result_reuse import OF_THIS_HOME
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
    for side, view, file in (
        (MIXED, found.engine_view, "tensorrt/kernels.json"),
        (FP32, found.fp32_view, "tensorrt/kernels_fp32.json"),
    ):
        if view is not None:
            tables[file] = _kernels(view, found.estimates.get(side))
    return texts, tables


def _kernels(view: EngineView, estimate: Estimate | None) -> dict[str, list[Any]]:
    """A row for each kernel; ``estimated_us`` is its part of the estimate, None where there is none."""
    device = devices()[estimate.device] if estimate is not None else None
    kernels = view.kernels
    return {
        "kernel": [each.name for each in kernels],
        "kind": [each.kind for each in kernels],
        "nodes": [", ".join(each.nodes) for each in kernels],
        "reads": [", ".join(each.reads) for each in kernels],
        "writes": [", ".join(each.writes) for each in kernels],
        "read_bytes": [each.read_bytes for each in kernels],
        "written_bytes": [each.written_bytes for each in kernels],
        "flops": [each.flops for each in kernels],
        "operand_type": [each.operand_type for each in kernels],
        "stream": [each.stream for each in kernels],
        "only_moves": [each.only_moves for each in kernels],
        "fused_attention": [each.fused_attention for each in kernels],
        "estimated_us": [None if device is None else _microseconds(each, device) for each in kernels],
    }


def _microseconds(kernel: Kernel, device: DeviceFigures) -> float | None:
    seconds = kernel_seconds(kernel, device)
    return None if seconds is None else round(1e6 * seconds, 3)


validate_isolated = isolated(validate_model, Validation, name="validate")
validate_task = task(name="validate", persist_result=True, cache_policy=OF_THIS_HOME)(validate_isolated)
