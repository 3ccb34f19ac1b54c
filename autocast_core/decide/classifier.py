"""Asks the rules about every node and writes the plan."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.facts import NodeFacts, TensorFacts, Verdict
from autocast_core.decide.masks import mask_ends
from autocast_core.decide.numbers import find_numbers
from autocast_core.decide.pairs import quantization_pairs
from autocast_core.decide.rule import Rule, custom_rule
from autocast_core.decide.rules.angles import AnglesRule
from autocast_core.decide.rules.earlier import EarlierConversionRule
from autocast_core.decide.rules.initializer_range import InitializerRangeRule
from autocast_core.decide.rules.io_range import IORangeRule
from autocast_core.decide.rules.names import NodeNameRule, OperatorTypeRule
from autocast_core.decide.rules.reduction_depth import ReductionDepthRule
from autocast_core.decide.rules.shape_arithmetic import ShapeArithmeticRule
from autocast_core.decide.rules.small_values import SmallValuesRule
from autocast_core.decide.rules.whole_numbers import WholeNumbersRule
from autocast_core.decide.sequences import uncastable_groups
from autocast_core.graph.annotations import kept_nodes, replaced_names
from autocast_core.graph.structure import structure_digest
from autocast_core.graph.walk import all_graphs, all_nodes, is_counted, nodes_with_ids
from autocast_core.model import chunks, weights_digest
from autocast_core.operators import (
    PluginPrecision,
    element_type,
    float_operands,
    parse_plugin_precisions,
    plugin_settings,
    ports_of,
)
from autocast_core.operators.ports import CONTROL_FLOW
from autocast_core.plan import NodeDecision, PrecisionPlan, WeightChange

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rules:
    include: tuple[Rule, ...]
    exclude: tuple[Rule, ...]


def classify(
    model: ir.Model,
    statistics: Statistics,
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    changes: Iterable[Any] = (),
) -> PrecisionPlan:
    """The plan for a sanitized model: per node its precision, the first rule that keeps it, and the evidence.

    `statistics` are those of the activations, `weights` those of float initializers and Constants, both by value name;
    `changes` what sanitize did, recorded in the plan. Rules are asked in the documented order: legality, include,
    exclude by name, by type, initializer range, small values, I/O range, shape arithmetic, whole numbers, angles, depth
    of reduction, custom.
    """
    plugins = parse_plugin_precisions(config.trt_plugins_precision)
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    facts = _facts(model, nodes, statistics, weights, config, plugins)
    rules = _rules(model, config)
    decisions = {each.id: _decide(each, rules) for each in facts}
    _join_groups(nodes, decisions, config)
    warnings = [
        *_unmatched_patterns(facts, config),
        *_unknown_ports(model.graph, config),
        *_overruled_includes(facts, rules, decisions),
    ]
    if statistics.skipped is not None:
        warnings.append(f"no calibration: {statistics.skipped}; decided by the rules that need no data")
    for warning in warnings:
        logger.warning("%s", warning)
    return PrecisionPlan(
        precision=config.precision,
        structure_digest=structure_digest(model),
        weights_digest=weights_digest(model),
        nodes=tuple(decisions.values()),
        settings=_settings(config, plugins),
        sanitize=tuple({"step": c.step, "detail": c.detail, "nodes": list(c.nodes)} for c in changes),
        weights=_weight_changes(model, facts, decisions, config.precision),
        data={
            "origin": statistics.origin,
            "digest": statistics.digest,
            "batches": statistics.batches,
            "backend": statistics.backend,
        },
        warnings=tuple(warnings),
    )


def _settings(config: ConversionConfig, plugins: Mapping[str, PluginPrecision]) -> dict[str, Any]:
    keep = config.keep_io_types
    settings: dict[str, Any] = {"keep_io_types": keep if isinstance(keep, bool) else sorted(keep)}
    if config.init_conversion_max_bytes is not None:
        settings["init_conversion_max_bytes"] = config.init_conversion_max_bytes
    if config.operands_to_exclude:
        settings["operands_to_exclude"] = {
            op_type: {side: [*indices] for side, indices in sorted(block.items())}
            for op_type, block in sorted(config.operands_to_exclude.items())
        }
    if plugins:
        settings["plugin_precisions"] = plugin_settings(plugins)
    return settings


def _rules(model: ir.Model, config: ConversionConfig) -> _Rules:
    exclude = _named(config.nodes_to_exclude, config.op_types_to_exclude)
    kept = kept_nodes(model)
    if kept:
        exclude.insert(0, EarlierConversionRule(kept))
    exclude.append(InitializerRangeRule(config.init_max))
    if config.small_values and config.precision == Precision.FP16:
        exclude.append(SmallValuesRule())
    exclude += [IORangeRule(config.data_max), ShapeArithmeticRule(), WholeNumbersRule(), AnglesRule()]
    if config.max_depth_of_reduction is not None:
        exclude.append(ReductionDepthRule(config.max_depth_of_reduction))
    if config.custom_rule is not None:
        exclude.append(custom_rule(config.custom_rule))
    return _Rules(tuple(_named(config.nodes_to_include, config.op_types_to_include)), tuple(exclude))


def _named(patterns: Sequence[str], op_types: Sequence[str]) -> list[Rule]:
    """The rules that can fire: each is asked about every node."""
    rules: list[Rule] = [NodeNameRule(patterns)] if patterns else []
    return [*rules, OperatorTypeRule(op_types)] if op_types else rules


def _facts(
    model: ir.Model,
    nodes: Mapping[str, ir.Node],
    statistics: Statistics,
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    plugins: Mapping[str, PluginPrecision],
) -> list[NodeFacts]:

    def stats_of(value: ir.Value) -> TensorStats | None:
        return weights.get(value.name or "") or statistics.tensors.get(value.name or "")

    masks = mask_ends(model, stats_of, config.data_max)
    numbers = find_numbers(all_nodes(model.graph))
    known: dict[ir.Value, TensorFacts] = {}

    def facts_of(value: ir.Value) -> TensorFacts:
        found = known.get(value)
        if found is None:
            name = value.name or ""
            found = known[value] = TensorFacts(
                name,
                stats_of(value),
                is_weight=name in weights,
                mask_end=masks.get(name, 0),
                is_whole=value in numbers.whole,
                is_position=value in numbers.positions,
                is_angle=value in numbers.angles,
            )
        return found

    facts = []
    for node_id, node in nodes.items():
        operands = float_operands(node, model.opset_imports, config.precision, plugins, config.operands_to_exclude)
        moved = [v for v, moves in zip(node.inputs, operands.inputs, strict=True) if moves and v is not None]
        moved += [v for v, moves in zip(node.outputs, operands.outputs, strict=True) if moves]
        if node.op_type in CONTROL_FLOW and moved:
            moved += _inner_values(node)
        tensors = tuple(map(facts_of, dict.fromkeys(moved)))
        sizes = node in numbers.sizes
        facts.append(NodeFacts(node_id, node, _names(node), operands, tensors, config.precision, sizes))
    return facts


def _inner_values(node: ir.Node) -> list[ir.Value]:
    """What a control-flow node's bodies pass in and out: it goes through every iteration, not only the last."""
    values = [part for port in ports_of(node) for part in (port.inner_input, *port.inner_outputs)]
    return [v for v in values if v is not None and element_type(v) == ir.DataType.FLOAT]


def _names(node: ir.Node) -> tuple[str, ...]:
    return (node.name or "", *replaced_names(node))


def _decide(facts: NodeFacts, rules: _Rules) -> NodeDecision:
    operands = facts.operands
    if not operands.is_float:
        return _decision(facts, Precision.NONE, "no_float", "touches no float tensor")
    if operands.current is not None:
        return _decision(facts, operands.current, "already_low", "has 16-bit types in the source model")
    if operands.demanded is not None:
        return _decision(facts, operands.demanded, "plugin_precision", "trt_plugins_precision demands it")
    if operands.refusal is not None:
        logger.debug("%s stays FP32: legality: %s", facts.id, operands.refusal)
        return _decision(facts, Precision.FP32, "legality", operands.refusal)
    for rule in rules.include:
        verdict = rule.check(facts)
        if verdict is not None:
            return _decision(facts, facts.precision, "include", verdict.reason)
    fired = [(rule.name, verdict) for rule in rules.exclude if (verdict := rule.check(facts)) is not None]
    for name, verdict in fired:
        logger.debug("%s stays FP32: %s: %s", facts.id, name, verdict.reason)
    if fired:
        name, verdict = fired[0]
        return _decision(facts, Precision.FP32, name, verdict.reason, verdict)
    logger.debug("%s goes %s: no rule keeps it", facts.id, facts.precision)
    return _decision(facts, facts.precision, "default", "")


def _decision(
    facts: NodeFacts, precision: Precision, rule: str, reason: str, verdict: Verdict | None = None
) -> NodeDecision:
    return NodeDecision(
        id=facts.id,
        op_type=facts.node.op_type,
        domain=facts.node.domain,
        precision=precision,
        rule=rule,
        reason=reason,
        evidence=verdict.evidence if verdict is not None else (),
        replaces=facts.names[1:],
    )


def _join_groups(nodes: Mapping[str, ir.Node], decisions: dict[str, NodeDecision], config: ConversionConfig) -> None:
    """Keep a whole group in FP32 where one of its nodes, or the contract of a graph input or output, is.

    Groups share a sequence or an optional, which no Cast takes, or are a QuantizeLinear and its DequantizeLinear nodes.
    """
    for name, group in quantization_pairs(nodes):
        _join(decisions, group, "quantization_pair", f"quantizes {name!r} with the scale of", None)
    for name, group, at_border in uncastable_groups(nodes):
        border = (
            "a graph input or output that keeps its type" if at_border and config.keep_io_types is not False else None
        )
        _join(decisions, group, "legality", f"shares {name!r}, which no Cast takes, with", border)


def _join(
    decisions: dict[str, NodeDecision], group: frozenset[str], rule: str, reason: str, border: str | None
) -> None:
    held = next((i for i in sorted(group) if decisions[i].precision == Precision.FP32), None)
    why = f"node {held!r}, which stays FP32" if held is not None else border
    if why is None:
        return
    for node_id in group:
        if decisions[node_id].precision.is_low:
            decisions[node_id] = replace(
                decisions[node_id], precision=Precision.FP32, rule=rule, reason=f"{reason} {why}"
            )


def _unmatched_patterns(facts: Sequence[NodeFacts], config: ConversionConfig) -> list[str]:
    warnings = []
    names = [name for each in facts for name in each.names]
    for option in ("nodes_to_exclude", "nodes_to_include"):
        for pattern in getattr(config, option):
            compiled = re.compile(pattern)
            if not any(compiled.match(name) for name in names):
                warnings.append(f"{option} pattern {pattern!r} matches no node")
    op_types = {each.node.op_type for each in facts}
    for option in ("op_types_to_exclude", "op_types_to_include"):
        warnings += [
            f"{option} type {op_type!r} matches no node"
            for op_type in getattr(config, option)
            if op_type not in op_types
        ]
    return warnings


def _unknown_ports(graph: ir.Graph, config: ConversionConfig) -> list[str]:
    if isinstance(config.keep_io_types, bool):
        return []
    known = {value.name for value in (*graph.inputs, *graph.outputs)}
    return [
        f"keep_io_types name {name!r} is no graph input or output" for name in config.keep_io_types if name not in known
    ]


def _overruled_includes(facts: Sequence[NodeFacts], rules: _Rules, decisions: Mapping[str, NodeDecision]) -> list[str]:
    warnings = []
    for each in facts:
        decision = decisions[each.id]
        if decision.rule == "legality" and any(rule.check(each) is not None for rule in rules.include):
            warnings.append(f"{each.id} was to be included but stays FP32: {decision.reason}")
    return warnings


def _weight_changes(
    model: ir.Model, facts: Sequence[NodeFacts], decisions: Mapping[str, NodeDecision], precision: Precision
) -> tuple[WeightChange, ...]:
    """The weights of low nodes of which some values are clamped or vanish."""
    stats: dict[str, TensorStats] = {}
    for each in facts:
        if decisions[each.id].precision.is_low:
            stats.update({t.name: t.stats for t in each.tensors if t.is_weight and t.stats is not None})
    over = {name for name, each in stats.items() if each.absmax > precision.max}
    clamped = _count_clamped(model, over, precision.max) if over else {}
    return tuple(
        WeightChange(name, clamped.get(name, 0), each.underflow or 0)
        for name, each in sorted(stats.items())
        if clamped.get(name, 0) or each.underflow
    )


def _count_clamped(model: ir.Model, names: set[str], limit: float) -> dict[str, int]:
    counts = {}
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            if value.name in names and value.const_value is not None:
                counts[value.name] = sum(
                    int(np.count_nonzero((np.abs(block) > limit) & np.isfinite(block)))
                    for block in chunks(value.const_value)
                )
    return counts
