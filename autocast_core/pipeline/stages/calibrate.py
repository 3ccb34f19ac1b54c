"""Calibrate: the statistics of every activation over the calibration data."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from autocast_core import calibrate as calibration
from autocast_core.calibrate import Statistics
from autocast_core.data import Batches, DataBatches
from autocast_core.errors import BackendError, DataError
from autocast_core.model.tensors import check_file
from autocast_core.model.traverse import all_tensors
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.upgrade_check import check_upgrade
from autocast_core.text import how_many

_OUT_OF_MEMORY = ("alloc", "memory", "mmap")
"""What runtimes say when there is too little of it."""
_BF16 = frozenset({ir.DataType.BFLOAT16})


def calibrate(job: Job, sanitized: SanitizedSource) -> Statistics:
    """One run of the model over the job's calibration data, else over seeded random data; none where no rule needs it.

    Of a model with custom operators that the runtime does not know, the part that runs without them; with what they
    make as inputs where the data has it. DataError where the data does not fit the model's inputs or, without
    `allow_uncalibrated`, where something keeps data that was given from being used; ModelError where that is a file of
    weights that is gone; UnconvertibleError where an opset upgrade changed what the model computes.
    """
    found = _calibrated(job, sanitized)
    if found.skipped is not None and found.origin == "none" and job.calibration is not None:
        _require_permission(job, sanitized.model, found.skipped)
    return found


def _require_permission(job: Job, model: ir.Model, reason: str) -> None:
    """DataError unless the job may do without its data; ModelError where a file of weights is gone."""
    if job.config.allow_uncalibrated:
        return
    for tensor in all_tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            check_file(tensor)
    short = any(word in reason.lower() for word in _OUT_OF_MEMORY)
    remedy = "run the model in more --segments" if short else "fix that"
    raise DataError(
        f"the calibration data cannot be used: {reason.rstrip('.')}; {remedy}, or decide by the rules that need no data"
        " with --allow_uncalibrated (in a spec allow_uncalibrated: true)"
    )


def _calibrated(job: Job, sanitized: SanitizedSource) -> Statistics:
    model = without_bf16(sanitized.model)
    batches = job.calibration_batches(model)
    custom = calibration.custom_nodes(model) if batches is not None else []
    if custom and not _opens(job, model):
        return _calibrate_part(job, model, custom)
    check_upgrade(job, sanitized, batches)
    return Statistics() if batches is None else _calibrate(job, model, batches)


def without_bf16(model: ir.Model) -> ir.Model:
    """`model`, or a copy whose BF16 is FP32, under the same names: few runtimes have kernels for BF16."""
    from autocast_core.sanitize.float_types.replace_floats import replace_floats
    from autocast_core.sanitize.float_types.widen import computes_in

    if not computes_in(model, _BF16):
        return model
    copy = model.clone()
    replace_floats(copy, _BF16, lambda name: False)
    return copy


def _calibrate(job: Job, model: ir.Model, batches: Batches) -> Statistics:
    """In segments weights are scanned while they are in memory."""
    from autocast_core.backends.segments import Lockstep

    config = job.config
    scan = calibration.WeightScan(model, config.precision)
    with Lockstep() as lockstep:
        lockstep.join(scan)
        runtime = job.runtime_in(lockstep)
        found = calibration.calibrate(
            model, batches, runtime, config.precision, small_values=config.small_values, progress=job.progress
        )
    if scan.scanned:
        job.cache.keep_scanned(config.precision, scan.scanned)
    return with_first_nonfinite(found, model, batches)


def with_first_nonfinite(found: Statistics, model: ir.Model, batches: Batches) -> Statistics:
    """`found`, with the place of the first NaN or infinity in the data where the model's inputs hold one."""
    inputs = [found.tensors[name] for value in model.graph.inputs if (name := str(value.name)) in found.tensors]
    if isinstance(batches, DataBatches) and any(stats.nonfinite for stats in inputs):
        return replace(found, first_nonfinite=batches.first_nonfinite())
    return found


def _opens(job: Job, model: ir.Model) -> bool:
    try:
        job.runtime.open(model, exact=True, few_runs=True).close()
    except BackendError:
        return False
    return True


def _calibrate_part(job: Job, model: ir.Model, custom: list[ir.Node]) -> Statistics:
    """Statistics of the part of `model` that runs without the nodes `custom`."""
    operators = ", ".join(sorted({node.op_type for node in custom}))
    remedy = "give their library with --custom_op_libraries or --trt_plugins (in a spec without --)"
    for given in (True, False) if job.calibration is not None else (False,):
        part = calibration.runnable_part(model, custom, given=given)
        if part is None or (given and not part.given):
            continue
        try:
            batches = job.batches(part.model, job.calibration)
        except DataError:
            if given:  # the data has the model's own inputs only
                continue
            raise
        found = _calibrate(job, part.model, batches)
        if found.skipped is not None:
            return found
        arrays = ", ".join(map(repr, _outputs(custom)[:3]))
        hint = "" if given or not arrays else f", or what they make in the data, under the names {arrays}"
        missing = how_many(len(part.missing), "node that is or follows", "nodes that are or follow")
        return replace(found, skipped=f"{missing} custom operators ({operators}): {remedy}{hint}")
    return Statistics(skipped=f"no part of the model runs without custom operators ({operators}): {remedy}")


def _outputs(custom: list[ir.Node]) -> list[str]:
    """What custom operators make and other nodes read."""
    return [str(value.name) for node in custom for value in node.outputs if value.uses()]


CALIBRATE = Stage("calibrate", calibrate, (SanitizedSource,), Statistics)
