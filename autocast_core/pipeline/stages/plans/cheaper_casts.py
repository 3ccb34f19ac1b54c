"""The last step of a measured decision, for `decide` and `repair`: Casts stand where fewer bytes move.

Reads the first batch for its shapes, and runs none. Leaves a plan as it is where the model of fusion expects more
kernels otherwise, an attention core less or, for a target engine, which fuses Casts into kernels, more bytes.
"""

from __future__ import annotations

import logging

import onnx_ir as ir
from msgspec import UNSET, structs

from autocast_core.apply import apply_plan
from autocast_core.calibrate import scan_weights
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import Precision
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.engine.view import EngineView
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.pipeline.job import Data, Job
from autocast_core.plan import PrecisionPlan
from autocast_core.search.costs.cast_placement import place_casts

LOG = logging.getLogger(__name__)


def with_casts_placed(job: Job, model: ir.Model, plan: PrecisionPlan, data: Data) -> PrecisionPlan:
    """`plan`, which is for the sanitized `model`, with its Casts placed for batches as those of `data`; as it is where
    that saves nothing. ``data.placement`` has what it saves, in place of what it said of an earlier form of the plan.

    DataError where the data does not fit.
    """
    plan = structs.replace(plan, data=structs.replace(plan.data, placement=UNSET))
    types = {each.precision for each in plan.nodes}
    if Precision.FP32 not in types or not types & {*plan.low_types}:
        return plan
    feeds = next(iter(job.batches(model, data)), {})
    placed = place_casts(model, plan, sizes_of(model, feeds).counts)
    if placed.nodes == plan.nodes:
        record = placed.data.placement
        return placed if record is not UNSET and record.moved else plan
    if not any(each.precision.is_low for each in placed.nodes):
        # FP32 throughout meets every target, and is no conversion.
        return plan
    shapes = static_shapes(model, feeds)
    before, after = (estimated_view(apply_plan(model, each).model, shapes) for each in (plan, placed))
    if _is_worse(before, after, counts_bytes=job.config.target is not None):
        LOG.info("Casts stay where they are: the model of fusion expects more of the engine otherwise")
        return plan
    return with_own_signs(model, placed, plan, scan_weights(model, plan.precision, job.progress))


def _is_worse(before: EngineView, after: EngineView, *, counts_bytes: bool) -> bool:
    more = len(after.kernels) > len(before.kernels) or after.attention_fused < before.attention_fused
    return more or (counts_bytes and (after.traffic_bytes or 0) > (before.traffic_bytes or 0))
