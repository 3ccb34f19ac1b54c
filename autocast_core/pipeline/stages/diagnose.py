"""Diagnose: where and why another form of the source gives other numbers, and the source converted without that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.diagnose import Culprit, Diagnosis, diagnose
from autocast_core.diagnose.matching.prepared import paired_interfaces
from autocast_core.errors import ModelError
from autocast_core.model import ModelRef
from autocast_core.operators import element_type
from autocast_core.pipeline.job import Job
from autocast_core.simulate import Accumulate


def diagnose_candidate(
    job: Job, candidate: ModelRef, mapped: Mapping[str, str], tolerance_db: float | None = None
) -> Diagnosis:
    """The diagnosis of the model at `candidate` against the job's source, on the job's evaluation data, else its
    calibration data, else seeded random data. See autocast_core.diagnose.diagnose for the rest."""
    reference, other = job.original(), job.cache.model(candidate)
    paired_interfaces(reference, other, mapped)
    batches = job.batches(reference, job.evaluation or job.calibration)
    return diagnose(
        reference,
        other,
        batches,
        job.runtime,
        mapped=mapped,
        tolerance_db=tolerance_db,
        accumulate=Accumulate(job.config.accumulate),
        progress=job.progress,
    )


def reproduce_culprit(job: Job, candidate: ModelRef, found: Diagnosis, folder: Path) -> dict[str, str | None]:
    """Writes the reproduction of the first culprit of `found`, a diagnosis of these models, to `folder`: ``folder``, or
    ``reason`` where there is none. OutputError where it cannot be written."""
    from autocast_core.diagnose.reproduction.files import write_reproduction
    from autocast_core.diagnose.reproduction.reproduction import reproduction

    try:
        accumulate = Accumulate(job.config.accumulate)
        made = reproduction(job.original(), job.cache.model(candidate), found, job.runtime, accumulate)
    except ModelError as error:
        return {"folder": None, "reason": str(error)}
    write_reproduction(made, folder)
    return {"folder": str(folder), "reason": None}


def convert_without(job: Job, culprits: tuple[Culprit, ...], candidate: ModelRef, destination: Path) -> Path:
    """The job's source converted anew, to the candidate's 16-bit type, with the remedies of `culprits`; the file that
    was written. Decided by measurement, on the data that showed the fault."""
    from autocast_core.pipeline.convert import convert_file

    config = remedied(job.config, culprits, job.cache.model(candidate))
    made = convert_file(job.source, destination, config, calibration=job.evaluation or job.calibration)
    return made.output.path


def remedied(config: ConversionConfig, culprits: tuple[Culprit, ...], candidate: ir.Model) -> ConversionConfig:
    """`config` with the options of the culprits' remedies, and with the candidate's 16-bit type (FP16 without one)."""
    kept = tuple(name for culprit in culprits for name in culprit.remedy.options.get("nodes_to_exclude", ()))
    types = {element_type(value) for node in candidate.graph for value in node.outputs}
    bf16 = ir.DataType.BFLOAT16 in types and ir.DataType.FLOAT16 not in types
    return replace(
        config,
        precision=Precision.BF16 if bf16 else Precision.FP16,
        nodes_to_exclude=tuple(dict.fromkeys((*config.nodes_to_exclude, *kept))),
        clamp_masks=config.clamp_masks or any("clamp_masks" in each.remedy.options for each in culprits),
        decide="measured",
        repair_ranges=True,
    )
