"""Finding what to repair from statistics, and making the repairs that are found or that a plan names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.names import unused_names
from autocast_core.graph.walk import all_nodes
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs import attention_scale, residual_scale
from autocast_core.sanitize.range_repairs.scaling import Magnitude, Rescaled, Scaling

RANGE_STEPS = (attention_scale.STEP, residual_scale.STEP)
"""The steps of sanitize that are repairs of range."""


@dataclass(frozen=True)
class Repaired:
    """The repaired model, and whose numbers its changed and its new values hold, see Rescaled."""

    model: ir.Model
    rescaled: Rescaled


def find_range_repairs(model: ir.Model, magnitude: Magnitude, limit: float) -> tuple[Change, ...]:
    """The repairs that bring tensors over `limit` within it, for `repair_ranges_in_place`; `model` is not changed."""
    return (
        *attention_scale.find_attention_scales(model, magnitude, limit),
        *residual_scale.find_residual_scales(model, magnitude, limit),
    )


def repair_ranges_in_place(model: ir.Model, changes: Iterable[Change]) -> Repaired:
    """`model`, changed as those of `changes` say that are repairs of range.

    They were found on a model of the same structure. KeyError where `model` lacks a node that they name.
    """
    scaling = Scaling(unused_names(model.graph))
    nodes = {str(node.name): node for node in all_nodes(model.graph)}
    for change in changes:
        if change.step == attention_scale.STEP:
            product, scale = (nodes[name] for name in change.nodes)
            attention_scale.move_attention_scale(product, scale, scaling)
        elif change.step == residual_scale.STEP:
            edges = [(nodes[name], index) for name, index in zip(change.nodes, change.operands, strict=True)]
            residual_scale.scale_stream(model, edges, change.exponent, scaling)
    return Repaired(model, scaling.rescaled)
