"""Collects what the rules look at: for every node that a plan decides, its NodeFacts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class FactSources:
    """What facts are collected from: `nodes` are those of a sanitized `model` that a plan decides, all of them, by id;
    `statistics` and `weights` are as `decide` takes them, and `policy` is that of the model."""

    model: ir.Model
    nodes: Mapping[str, ir.Node]
    statistics: Statistics
    weights: Mapping[str, TensorStats]
    policy: OperandPolicy

    def without_small_values(self) -> FactSources:
        """The same without what is measured for FP16 alone."""
        tensors = _without_small_values(self.statistics.tensors)
        return replace(
            self,
            statistics=replace(self.statistics, tensors=tensors),
            weights=_without_small_values(self.weights),
        )

    def stats_of(self, value: ir.Value | None) -> TensorStats | None:
        """The statistics of a weight or of an activation; None where there are none."""
        name = (value.name or "") if value is not None else ""
        return self.weights.get(name) or self.statistics.tensors.get(name)


def _without_small_values(tensors: Mapping[str, TensorStats]) -> dict[str, TensorStats]:
    return {name: stats.without_small_values() for name, stats in tensors.items()}


def collect_facts(sources: FactSources, config: ConversionConfig, limit_scale: float = 1.0) -> list[NodeFacts]:
    """The facts about the nodes of `sources`, in their order, for the low type of `config`.

    `limit_scale` multiplies the limit of what amplifies rounding.
    """
    nodes, stats_of = sources.nodes, sources.stats_of
    every = list(all_nodes(sources.model.graph))
    exact = find_exact_values(every)
    integer_ends = find_integer_ends(every, exact)
    guards = find_guarded_nodes(nodes.values(), sources.weights, config.precision)
    is_measured = bool(sources.statistics.tensors)
    known = Knowledge(stats_of, exact, config.precision, limit_scale)
    amplified = find_amplified_rounding(nodes.values(), known) if is_measured else {}
    asks_margin = config.headroom > 1.0 and is_measured
    overflows = find_overflows(every, stats_of, config.headroom, config.precision.max) if asks_margin else {}
    least = TIE_TO_ZERO[config.precision]
    vanishing = find_vanishing_operands(nodes.values(), stats_of, config.headroom, least) if asks_margin else {}
    facts_of = _tensor_facts(sources, config, _Walked(exact, find_growing_angles(every, exact), overflows))
    collected = []
    for node_id, node in nodes.items():
        operands = float_operands(node, sources.policy, config.precision)
        collected.append(
            NodeFacts(
                node_id,
                node,
                (node.name or "", *replaced_names(node)),
                operands,
                tuple(map(facts_of, dict.fromkeys(_moved_values(node, operands)))),
                config.precision,
                makes_sizes=node in exact.sizes,
                integer_end=integer_ends.get(node),
                guard=guards.get(node),
                amplification=amplified.get(node),
                vanishing=vanishing.get(node),
            )
        )
    return collected


class _Walked(NamedTuple):
    """What walks over all nodes have found of values."""

    exact: ExactValues
    angles: Collection[ir.Value]
    overflows: Mapping[ir.Value, float]


def _tensor_facts(sources: FactSources, config: ConversionConfig, walked: _Walked) -> Callable[[ir.Value], TensorFacts]:
    """The function that gives the facts about a value: made once for each, since many nodes share a value."""
    stats_of, results = sources.stats_of, sources.model.graph.outputs
    masks = mask_ends(sources.model, stats_of, config.data_max)
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
                is_weight=name in sources.weights,
                mask_end=masks.get(name, 0),
                is_whole=value in walked.exact.whole,
                is_position=value in walked.exact.positions,
                is_angle=value in walked.angles,
                may_reach=walked.overflows.get(value),
                is_absorbed=suspect and is_absorbed(value, stats_of, results),
            )
        return found

    return facts_of


def _moved_values(node: ir.Node, operands: Operands) -> list[ir.Value]:
    """The float values that would take the low type with the node: its inputs, its outputs, those of its bodies."""
    moved = operands.moved_inputs(node) + operands.moved_outputs(node)
    if moved and node.op_type in CONTROL_FLOW:
        moved += _values_through_bodies(node)
    return moved


def _values_through_bodies(node: ir.Node) -> list[ir.Value]:
    """What a control-flow node's bodies pass in and out: it goes through every iteration, not only the last."""
    values = [part for port in ports_of(node) for part in (port.inner_input, *port.inner_outputs)]
    return [v for v in values if v is not None and element_type(v) == ir.DataType.FLOAT]
