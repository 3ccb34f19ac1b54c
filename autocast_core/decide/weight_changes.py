"""Counts the elements of weights that the low type does not keep: those that are clamped and those that become zero;
and those of any weight that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from msgspec import UNSET

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.graph.walk import all_graphs
from autocast_core.model import chunks
from autocast_core.plan import NodeDecision, WeightChange


def weight_changes(
    model: ir.Model,
    facts: Sequence[NodeFacts],
    decisions: Mapping[str, NodeDecision],
    nonfinite: Mapping[str, int],
) -> tuple[WeightChange, ...]:
    """The weights of low nodes of which some elements are clamped or become zero, and all that hold `nonfinite`
    elements (by name, how many), by name.

    Only weights that hold a magnitude over the largest of their type are read; the others are known by their
    statistics.
    """
    stats: dict[str, TensorStats] = {}
    limits: dict[str, float] = {}
    lost: dict[str, int] = {}
    for each in facts:
        precision = decisions[each.id].precision
        for tensor in each.tensors if precision.is_low else ():
            if tensor.is_weight and tensor.stats is not None:
                stats[tensor.name] = tensor.stats
                limits[tensor.name] = min(precision.max, limits.get(tensor.name, precision.max))
                if precision is Precision.FP16:
                    lost[tensor.name] = tensor.stats.underflow or 0
    over = {name: limits[name] for name, each in stats.items() if each.absmax > limits[name]}
    clamped = _count_clamped(model, over) if over else {}
    return tuple(
        WeightChange(name, clamped.get(name, 0), lost.get(name, 0), nonfinite.get(name, UNSET))
        for name in sorted({*stats, *nonfinite})
        if clamped.get(name, 0) or lost.get(name, 0) or name in nonfinite
    )


def _count_clamped(model: ir.Model, limits: Mapping[str, float]) -> dict[str, int]:
    """How many finite elements of the initializers exceed their limits in magnitude, by name, block by block."""
    counts = {}
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            limit = limits.get(value.name or "")
            if limit is not None and value.name is not None and value.const_value is not None:
                counts[value.name] = sum(
                    int(np.count_nonzero((np.abs(block) > limit) & np.isfinite(block)))
                    for block in chunks(value.const_value)
                )
    return counts
