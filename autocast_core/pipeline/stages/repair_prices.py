"""What it would cost an engine to compute in FP32 what may round inside: kernels and bytes, by the model of fusion."""

from __future__ import annotations

from collections.abc import Collection

from autocast_core.apply import apply_plan
from autocast_core.attention import attention_cores
from autocast_core.config import Precision
from autocast_core.decide.rules import REPAIR
from autocast_core.evaluate.metric_names import EXTRA_BYTES, EXTRA_KERNELS, of_repair
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.simulate import ATTENTION


def repair_prices(
    job: Job, sanitized: SanitizedSource, converted: Converted, spared: Collection[str]
) -> dict[str, float]:
    """The price of each repair under its metric names: of all low nodes of an operator type in FP32, or of the products
    of attention cores (`ATTENTION`). Empty without data; bytes are left out where a shape is not known."""
    plan = converted.plan
    model = planned_model(sanitized.model, plan)
    feeds = next(iter(job.batches(model, job.evaluation or job.calibration)), None) if spared else None
    if feeds is None:
        return {}
    shapes = static_shapes(model, feeds)
    before = estimated_view(converted.model, shapes)
    products = {product for core in attention_cores(model.graph) for product in core.products}
    found: dict[str, float] = {}
    for each in sorted(spared):
        low = [node for node in plan.nodes if node.precision.is_low]
        wide = [node.id for node in low if (node.id in products if each == ATTENTION else node.op_type == each)]
        repaired = plan.with_precisions(dict.fromkeys(wide, Precision.FP32), REPAIR.name, "its price is asked for")
        after = estimated_view(apply_plan(model, repaired).model, shapes)
        found[of_repair(each, EXTRA_KERNELS)] = len(after.kernels) - len(before.kernels)
        if after.traffic_bytes is not None and before.traffic_bytes is not None:
            found[of_repair(each, EXTRA_BYTES)] = after.traffic_bytes - before.traffic_bytes
    return found
