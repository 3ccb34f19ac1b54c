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
    precision: Precision,
    nonfinite: Mapping[str, int],
) -> tuple[WeightChange, ...]:
    """The weights of low nodes of which some elements are clamped or become zero, and all that hold `nonfinite`
    elements (by name, how many), by name.

    Only weights that hold a magnitude over ``precision.max`` are read; the others are known by their statistics.
    """
    stats: dict[str, TensorStats] = {}
    for each in facts:
        if decisions[each.id].precision.is_low:
            stats.update({t.name: t.stats for t in each.tensors if t.is_weight and t.stats is not None})
    over = {name for name, each in stats.items() if each.absmax > precision.max}
    clamped = _count_clamped(model, over, precision.max) if over else {}
    lost = {name: each.underflow or 0 for name, each in stats.items()}
    return tuple(
        WeightChange(name, clamped.get(name, 0), lost.get(name, 0), nonfinite.get(name, UNSET))
        for name in sorted({*stats, *nonfinite})
        if clamped.get(name, 0) or lost.get(name, 0) or name in nonfinite
    )


def _count_clamped(model: ir.Model, names: set[str], limit: float) -> dict[str, int]:
    """How many finite elements of the initializers called `names` exceed `limit` in magnitude, block by block."""
    counts = {}
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            if value.name in names and value.const_value is not None:
                counts[value.name] = sum(
                    int(np.count_nonzero((np.abs(block) > limit) & np.isfinite(block)))
                    for block in chunks(value.const_value)
                )
    return counts
