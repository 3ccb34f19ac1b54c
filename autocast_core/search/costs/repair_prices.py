"""What it would cost an engine to compute in FP32 what may round inside: kernels and bytes, by the model of fusion."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir

from autocast_core.apply import apply_plan
from autocast_core.config import Precision
from autocast_core.decide.rules import REPAIR
from autocast_core.evaluate.metric_names import EXTRA_BYTES, EXTRA_KERNELS, of_repair
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.plan import PrecisionPlan
from autocast_core.simulate import ATTENTION, attention_products


def repair_prices(
    model: ir.Model, plan: PrecisionPlan, feeds: Mapping[str, np.ndarray], spared: Collection[str]
) -> dict[str, float]:
    """The price of each repair of the sanitized `model` by `plan` under its metric names: of all low nodes of an
    operator type in FP32, or of the products of attention cores that are several nodes (`ATTENTION`).

    `feeds` is a batch, for its shapes; bytes are those of such a batch, and left out where a shape is not known.
    """
    shapes = static_shapes(model, feeds)
    before = estimated_view(apply_plan(model, plan).model, shapes)
    in_cores = attention_products(model.graph)
    products = {node_id for node_id, node in nodes_with_ids(model.graph) if node in in_cores}
    low = [node for node in plan.nodes if node.precision.is_low]
    found: dict[str, float] = {}
    for each in sorted(spared):
        wide = [node.id for node in low if (node.id in products if each == ATTENTION else node.op_type == each)]
        repaired = plan.with_precisions(dict.fromkeys(wide, Precision.FP32), REPAIR.name, "its price is asked for")
        after = estimated_view(apply_plan(model, repaired).model, shapes)
        found[of_repair(each, EXTRA_KERNELS)] = len(after.kernels) - len(before.kernels)
        if after.traffic_bytes is not None and before.traffic_bytes is not None:
            found[of_repair(each, EXTRA_BYTES)] = after.traffic_bytes - before.traffic_bytes
    return found
