"""Asks the rules about every node and writes the plan."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.collect_facts import collect_facts
from autocast_core.decide.groups import NodeGroup, quantization_pairs, uncastable_groups
from autocast_core.decide.node_facts import NodeFacts, RuleMatch
from autocast_core.decide.plan_warnings import overruled_includes, unknown_io_names, unmatched_patterns
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
from autocast_core.decide.weight_changes import weight_changes
from autocast_core.graph.annotations import kept_nodes
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.model import weights_digest
from autocast_core.model.structure_digest import structure_digest
from autocast_core.operators import OperandPolicy
from autocast_core.plan import NodeDecision, PlanData, PlanSettings, PrecisionPlan, SanitizeChange
from autocast_core.sanitize import Change

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rules:
    include: tuple[Rule, ...]
    exclude: tuple[Rule, ...]


def decide(
    model: ir.Model,
    statistics: Statistics,
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    changes: Iterable[Change] = (),
) -> PrecisionPlan:
    """The plan for a sanitized model: per node its precision, the first rule that keeps it, and the evidence.

    `statistics` are those of the activations, `weights` those of float initializers and Constants, both by value name;
    `changes` what sanitize did, recorded in the plan. Rules are asked in the documented order: legality, include,
    exclude by name, by type, initializer range, small values, I/O range, shape arithmetic, whole numbers, angles, depth
    of reduction, custom.
    """
    policy = OperandPolicy.of_config(model, config)
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    facts = collect_facts(model, nodes, statistics, weights, config, policy)
    rules = _rules(model, config)
    decisions = {each.id: _decide(each, rules) for each in facts}
    _join_groups(nodes, decisions, config)
    warnings = [
        *unmatched_patterns(facts, config),
        *unknown_io_names(model.graph, config),
        *overruled_includes(facts, rules.include, decisions),
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
        settings=_settings(config, policy),
        sanitize=tuple(SanitizeChange(c.step, c.detail, c.nodes) for c in changes),
        weights=weight_changes(model, facts, decisions, config.precision),
        data=PlanData(statistics.origin, statistics.digest, statistics.batches, statistics.backend),
        warnings=tuple(warnings),
    )


def _settings(config: ConversionConfig, policy: OperandPolicy) -> PlanSettings:
    keep = config.keep_io_types
    return PlanSettings(
        keep_io_types=keep if isinstance(keep, bool) else tuple(sorted(keep)),
        init_conversion_max_bytes=config.init_conversion_max_bytes,
        operands_to_exclude={
            op_type: {side: tuple(indices) for side, indices in block.items()}
            for op_type, block in policy.blocks.items()
        },
        plugin_precisions=policy.plugins,
    )


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
        match = rule.check(facts)
        if match is not None:
            return _decision(facts, facts.precision, "include", match.reason)
    fired = [(rule.name, match) for rule in rules.exclude if (match := rule.check(facts)) is not None]
    for name, match in fired:
        logger.debug("%s stays FP32: %s: %s", facts.id, name, match.reason)
    if fired:
        name, match = fired[0]
        return _decision(facts, Precision.FP32, name, match.reason, match)
    logger.debug("%s goes %s: no rule keeps it", facts.id, facts.precision)
    return _decision(facts, facts.precision, "default", "")


def _decision(
    facts: NodeFacts, precision: Precision, rule: str, reason: str, match: RuleMatch | None = None
) -> NodeDecision:
    return NodeDecision(
        id=facts.id,
        op_type=facts.node.op_type,
        domain=facts.node.domain,
        precision=precision,
        rule=rule,
        reason=reason,
        evidence=match.evidence if match is not None else (),
        replaces=facts.names[1:],
    )


def _join_groups(nodes: Mapping[str, ir.Node], decisions: dict[str, NodeDecision], config: ConversionConfig) -> None:
    """Keep a whole group in FP32 where one of its nodes, or the contract of a graph input or output, is.

    Groups share a sequence or an optional, which no Cast takes, or are a QuantizeLinear and its DequantizeLinear nodes.
    """
    for pair in quantization_pairs(nodes):
        _join(decisions, pair, "quantization_pair", f"quantizes {pair.value!r} with the scale of", None)
    kept_border = "a graph input or output that keeps its type" if config.keep_io_types is not False else None
    for group in uncastable_groups(nodes):
        border = kept_border if group.at_graph_border else None
        _join(decisions, group, "legality", f"shares {group.value!r}, which no Cast takes, with", border)


def _join(decisions: dict[str, NodeDecision], group: NodeGroup, rule: str, reason: str, border: str | None) -> None:
    held = next((i for i in sorted(group.nodes) if decisions[i].precision == Precision.FP32), None)
    why = f"node {held!r}, which stays FP32" if held is not None else border
    if why is None:
        return
    for node_id in group.nodes:
        if decisions[node_id].precision.is_low:
            decisions[node_id] = replace(
                decisions[node_id], precision=Precision.FP32, rule=rule, reason=f"{reason} {why}"
            )
