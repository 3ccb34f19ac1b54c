"""Calibrate: the statistics of every activation over the calibration data."""

from __future__ import annotations

from autocast_core import calibrate as calibration
from autocast_core.calibrate import Statistics
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.upgrade_check import check_upgrade


def calibrate(job: Job, sanitized: SanitizedSource) -> Statistics:
    """One run of the model over the job's calibration data, else over seeded random data; none where no rule needs it.

    DataError where the data does not fit the model's inputs; UnconvertibleError where an opset upgrade changed what the
    model computes.
    """
    batches = job.calibration_batches(sanitized.model)
    check_upgrade(job, sanitized, batches)
    if batches is None:
        return Statistics()
    return calibration.calibrate(
        sanitized.model,
        batches,
        job.runtime,
        job.config.precision,
        small_values=job.config.small_values,
        progress=job.progress,
    )


CALIBRATE = Stage("calibrate", calibrate, (SanitizedSource,), Statistics)
