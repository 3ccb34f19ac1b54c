"""Correct biases: the plan with the corrections that make up for what the rounding of weights takes."""

from __future__ import annotations

import logging
import math

from msgspec.structs import replace

from autocast_core.calibrate.channel_means import channel_means
from autocast_core.data import Batches
from autocast_core.data.batches import between
from autocast_core.decide.bias_corrections import bias_corrections, low_products
from autocast_core.errors import BackendError
from autocast_core.evaluate.metric_names import WORST_SQNR
from autocast_core.evaluate.recording import recorded
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.plans.repair import MOST_WEIGHT_BYTES, weight_bytes
from autocast_core.plan import CorrectedBiases, PrecisionPlan
from autocast_core.search.measure import plan_metrics

LOG = logging.getLogger(__name__)


def correct_biases(job: Job, sanitized: SanitizedSource, plan: PrecisionPlan) -> PrecisionPlan:
    """`plan` with corrections of biases, where the simulated model is more accurate with them on the last batch of the
    calibration data, which is held out: the means are those of the others.

    Else `plan` with a warning that says why not. DataError where the data does not fit.
    """
    model = planned_model(sanitized.model, plan)
    batches = job.batches(model, job.calibration)
    if job.calibration is None or len(batches) < 2:
        return _uncorrected(plan, "they need two batches of calibration data, of which one is held out")
    if weight_bytes(model) > MOST_WEIGHT_BYTES:
        return _uncorrected(plan, f"the model has {weight_bytes(model) / 1e9:.1f} GB of weights")
    products = low_products(model, plan)
    if not products:
        return _uncorrected(plan, "no product in 16 bits has a constant weight and a bias")
    try:
        seen = between(batches, 0, len(batches) - 1)
        means = channel_means(model, [each.node for each in products], seen, job.runtime)
        found = tuple(bias_corrections(products, means))
        corrected = replace(plan, biases=CorrectedBiases(0.0, 0.0, found))
        before, after = _held_out_sqnr(job, sanitized, (plan, corrected), batches)
    except BackendError as error:
        return _uncorrected(plan, f"the model cannot be run: {error}")
    if not before < after < math.inf:
        return _uncorrected(plan, f"{before:.1f} dB without and {after:.1f} dB with them on a batch that was held out")
    return replace(plan, biases=CorrectedBiases(before, after, found))


def _held_out_sqnr(
    job: Job, sanitized: SanitizedSource, plans: tuple[PrecisionPlan, PrecisionPlan], batches: Batches
) -> tuple[float, float]:
    """The SQNR in dB of the worst output by each of `plans`, simulated, on the last of `batches`."""
    original = job.reference()
    held_out = job.batches(original, next(iter(between(batches, len(batches) - 1, len(batches)))))
    with recorded(original, held_out, job.runtime) as recording:
        first, second = plan_metrics(planned_model(sanitized.model, plans[0]), plans, recording, held_out, job.runtime)
    return first.get(WORST_SQNR, math.nan), second.get(WORST_SQNR, math.nan)


def _uncorrected(plan: PrecisionPlan, reason: str) -> PrecisionPlan:
    warning = f"biases are not corrected: {reason}"
    LOG.warning("%s", warning)
    return replace(plan, warnings=(*plan.warnings, warning))


CORRECT_BIASES = Stage("correct_biases", correct_biases, (SanitizedSource, PrecisionPlan), PrecisionPlan)
