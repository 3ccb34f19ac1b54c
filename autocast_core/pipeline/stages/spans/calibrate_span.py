"""Calibrate by parts: what the stage `calibrate` does, for some of the batches at a time.

Whoever has several processes asks `layout` once, `calibrate_span` for spans of it in any order and anywhere, and
`joined` with the spans' statistics merged in the order of the data. That gives the stage's statistics, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping

from autocast_core.calibrate import BatchSpan, Calibrated, Statistics, custom_nodes, merged, stretches
from autocast_core.config import Precision
from autocast_core.data import DataBatches, FileLayout
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.calibrate import with_first_nonfinite, without_bf16
from autocast_core.pipeline.stages.upgrade_check import check_upgrade


def layout(job: Job, sanitized: SanitizedSource) -> FileLayout | None:
    """How the job's calibration data lies in files. None where it is not in files, or of a model with custom operators,
    whose runnable part is looked for over all of the data: the stage itself is to run then.

    Raises as the stage does where the data does not fit, or an opset upgrade changed what the model computes.
    """
    model = without_bf16(sanitized.model)
    batches = job.calibration_batches(model)
    if not isinstance(batches, DataBatches) or custom_nodes(model):
        return None
    check_upgrade(job, sanitized, batches)
    found = batches.layout()
    return found if found.files else None


def calibrate_span(
    job: Job, sanitized: SanitizedSource, skipped: int, count: int, shapes: Mapping[str, tuple[int, ...]]
) -> list[Statistics]:
    """The statistics of each stretch of the `count` batches behind the first `skipped` of the job's calibration data,
    which begin with a stretch; `shapes` are those of the first batch of the whole data.

    Raises BackendError where the runtime cannot run the model, DataError as the stage does.
    """
    config, model = job.config, without_bf16(sanitized.model)
    small = config.small_values and config.precision is Precision.FP16
    calibrated = Calibrated(model, config.precision, small, job.runtime)
    batches = job.batches(model, job.calibration)
    return list(stretches(calibrated, BatchSpan(batches, skipped, skipped + count), shapes, job.progress))


def joined(job: Job, sanitized: SanitizedSource, total: Statistics, digest: str) -> Statistics:
    """What the stage gives, from `total`, the statistics of all stretches merged; `digest` identifies the data."""
    model = without_bf16(sanitized.model)
    return with_first_nonfinite(merged(model, (total,), digest), model, job.batches(model, job.calibration))
