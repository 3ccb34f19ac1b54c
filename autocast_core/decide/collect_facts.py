"""Collects what the rules look at: for every node that a plan decides, its NodeFacts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.exact_quantities.exact_values import ExactValues, find_exact_values
from autocast_core.decide.exact_quantities.growing_angles import find_growing_angles
from autocast_core.decide.exact_quantities.integer_ends import find_integer_ends
from autocast_core.decide.mask_ends import mask_ends
from autocast_core.decide.node_facts import NodeFacts, TensorFacts
from autocast_core.decide.ranges.overflow_margins import find_overflows
from autocast_core.decide.rounding.absorbed_rounding import is_absorbed, loses_much
from autocast_core.decide.rounding.amplified_rounding import find_amplified_rounding
from autocast_core.decide.rounding.condition_numbers import Knowledge
from autocast_core.decide.rounding.guarded_nodes import TIE_TO_ZERO, find_guarded_nodes
from autocast_core.decide.rounding.vanishing_operands import find_vanishing_operands
from autocast_core.graph.annotations import replaced_names
from autocast_core.graph.walk import all_nodes
from autocast_core.operators import OperandPolicy, Operands, element_type, float_operands, ports_of
from autocast_core.operators.families import CONTROL_FLOW


def collect_facts(
    model: ir.Model,
    nodes: Mapping[str, ir.Node],
    statistics: Statistics,
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    policy: OperandPolicy,
    limit_scale: float = 1.0,
) -> list[NodeFacts]:
    """The facts about `nodes` (by id, all those of a sanitized `model` that a plan decides), in their order.

    `statistics` and `weights` are as `decide` takes them; `policy` is that of `model` and `config`;
    `limit_scale` multiplies the limit of what amplifies rounding.
    """
    measured = statistics.tensors

    def stats_of(value: ir.Value | None) -> TensorStats | None:
        name = (value.name or "") if value is not None else ""
        return weights.get(name) or measured.get(name)

    every = list(all_nodes(model.graph))
    exact = find_exact_values(every)
    integer_ends = find_integer_ends(every, exact)
    guards = find_guarded_nodes(nodes.values(), weights, config.precision)
    known = Knowledge(stats_of, exact, config.precision, limit_scale)
    amplified = find_amplified_rounding(nodes.values(), known) if statistics.tensors else {}
    asks_margin = config.headroom > 1.0 and bool(measured)
    overflows = find_overflows(every, stats_of, config.headroom, config.precision.max) if asks_margin else {}
    least = TIE_TO_ZERO[config.precision]
    vanishing = find_vanishing_operands(nodes.values(), stats_of, config.headroom, least) if asks_margin else {}
    walked = _Walked(exact, find_growing_angles(every, exact), overflows)
    facts_of = _tensor_facts(model, stats_of, weights, config, walked)
    collected = []
    for node_id, node in nodes.items():
        operands = float_operands(node, policy, config.precision)
        tensors = tuple(map(facts_of, dict.fromkeys(_moved_values(node, operands))))
        names = (node.name or "", *replaced_names(node))
        noted = node in exact.sizes, integer_ends.get(node), guards.get(node), amplified.get(node), vanishing.get(node)
        collected.append(NodeFacts(node_id, node, names, operands, tensors, config.precision, *noted))
    return collected


class _Walked(NamedTuple):
    """What walks over all nodes have found of values."""

    exact: ExactValues
    angles: Collection[ir.Value]
    overflows: Mapping[ir.Value, float]


def _tensor_facts(
    model: ir.Model,
    stats_of: Callable[[ir.Value | None], TensorStats | None],
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    walked: _Walked,
) -> Callable[[ir.Value], TensorFacts]:
    """The function that gives the facts about a value: made once for each, since many nodes share a value."""
    masks = mask_ends(model, stats_of, config.data_max)
    asks_sums = config.decide == "measured" and config.small_values and config.precision is Precision.FP16
    known: dict[ir.Value, TensorFacts] = {}

    def facts_of(value: ir.Value) -> TensorFacts:
        found = known.get(value)
        if found is None:
            name, stats = value.name or "", stats_of(value)
            suspect = asks_sums and stats is not None and loses_much(stats)
            found = known[value] = TensorFacts(
                name,
                stats,
                is_weight=name in weights,
                mask_end=masks.get(name, 0),
                is_whole=value in walked.exact.whole,
                is_position=value in walked.exact.positions,
                is_angle=value in walked.angles,
                may_reach=walked.overflows.get(value),
                is_absorbed=suspect and is_absorbed(value, stats_of, model.graph.outputs),
            )
        return found

    return facts_of


def _moved_values(node: ir.Node, operands: Operands) -> list[ir.Value]:
    """The float values that would take the low type with the node: its inputs, its outputs, those of its bodies."""
    moved = [v for v, moves in zip(node.inputs, operands.inputs, strict=True) if moves and v is not None]
    moved += [v for v, moves in zip(node.outputs, operands.outputs, strict=True) if moves]
    if moved and node.op_type in CONTROL_FLOW:
        moved += _values_through_bodies(node)
    return moved


def _values_through_bodies(node: ir.Node) -> list[ir.Value]:
    """What a control-flow node's bodies pass in and out: it goes through every iteration, not only the last."""
    values = [part for port in ports_of(node) for part in (port.inner_input, *port.inner_outputs)]
    return [v for v in values if v is not None and element_type(v) == ir.DataType.FLOAT]
