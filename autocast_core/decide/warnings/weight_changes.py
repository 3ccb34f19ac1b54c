"""Counts the elements of weights that the low type does not keep: those that are clamped and those that become zero;
and those of any weight that are NaN or infinite."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir
from msgspec import UNSET

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.ranges.nonfinite import nonfinite_weights
from autocast_core.graph.walk import all_graphs, nodes_with_ids
from autocast_core.model import chunks
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.plan import NodeDecision, PrecisionPlan, WeightChange

Reads = Iterable[tuple[Precision, str, TensorStats]]
"""For each weight that a low node reads in its precision: that, the weight's name and statistics."""


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
    reads = (
        (precision, tensor.name, tensor.stats)
        for each in facts
        if (precision := decisions[each.id].precision).is_low
        for tensor in each.tensors
        if tensor.is_weight and tensor.stats is not None
    )
    return _changes(model, reads, nonfinite)


def recounted_weights(
    model: ir.Model, plan: PrecisionPlan, weights: Mapping[str, TensorStats]
) -> tuple[WeightChange, ...]:
    """`weight_changes` for a plan of other decisions or of other weights than those that its own were counted for.

    `weights` are those of `model`, see `scan_weights`.
    """
    return _changes(model, _reads(model, plan, weights), nonfinite_weights(model, weights))


def _reads(
    model: ir.Model, plan: PrecisionPlan, weights: Mapping[str, TensorStats]
) -> Iterator[tuple[Precision, str, TensorStats]]:
    policy, decisions = OperandPolicy.of_plan(model, plan), plan.by_id()
    for node_id, node in nodes_with_ids(model.graph):
        decision = decisions.get(node_id)
        if decision is None or not decision.precision.is_low:
            continue
        for value in float_operands(node, policy, decision.precision).moved_inputs(node):
            name = value.name or ""
            if name in weights:
                yield decision.precision, name, weights[name]


def _changes(model: ir.Model, reads: Reads, nonfinite: Mapping[str, int]) -> tuple[WeightChange, ...]:
    stats: dict[str, TensorStats] = {}
    limits: dict[str, float] = {}
    lost: dict[str, int] = {}
    for precision, name, each in reads:
        stats[name] = each
        limits[name] = min(precision.max, limits.get(name, precision.max))
        if precision is Precision.FP16:
            lost[name] = each.underflow or 0
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
