"""Runs the rules of the registry on every node of a sanitized model and writes the plan."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import onnx_ir as ir
from msgspec import UNSET
from msgspec.structs import replace

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.collect_facts import FactSources, collect_facts
from autocast_core.decide.exact_inputs import kept_io_types
from autocast_core.decide.follow_neighbours import follow_neighbours
from autocast_core.decide.groups import keep_together
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.ranges.nonfinite import nonfinite_activations, nonfinite_weights
from autocast_core.decide.ranges.range_precision import (
    LIMIT_SCALE,
    RangeChoice,
    is_about_range,
    joined,
    with_range,
    without_gain,
)
from autocast_core.decide.rule import Outcome, Override, Rule, RuleEntry
from autocast_core.decide.rules import (
    ATTENTION_CORE,
    CUSTOM,
    INCLUDE,
    IO_RANGE,
    NEIGHBOURS,
    RULES,
    SMALL_VALUES,
    entry_of,
)
from autocast_core.decide.warnings.plan_warnings import (
    overruled_includes,
    signs_of_ruin,
    unknown_io_names,
    unmatched_patterns,
    unmatched_recipe,
)
from autocast_core.decide.warnings.weight_changes import weight_changes
from autocast_core.decide.whole_cores import CoreChoices, members_of_whole_cores, whole_cores
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.model import weights_digest
from autocast_core.model.structure_digest import structure_digest
from autocast_core.operators import OperandPolicy
from autocast_core.plan import NodeDecision, PlanData, PlanSettings, PrecisionPlan, SanitizeChange
from autocast_core.sanitize import Change

logger = logging.getLogger(__name__)


def decide(
    model: ir.Model,
    statistics: Statistics,
    weights: Mapping[str, TensorStats],
    config: ConversionConfig,
    changes: Iterable[Change] = (),
) -> PrecisionPlan:
    """The plan for a sanitized model: per node its precision, the first rule that applies to it, and the evidence.

    `statistics` are those of the activations, `weights` those of float initializers and Constants, both by value name;
    `changes` are what sanitize did, recorded in the plan. The rules and their order are those of
    `autocast_core.decide.rules.RULES`. Raises ConfigError where ``trt_plugins_precision`` cannot be parsed.
    """
    policy = OperandPolicy.of_config(model, config)
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    sources = FactSources(model, nodes, statistics, weights, policy)
    facts = collect_facts(sources, config)
    rules = _rules(model, config)
    decisions: Mapping[str, NodeDecision] = {each.id: _decide_node(each, rules) for each in facts}
    choice = None
    if config.range_precision is not None and any(map(is_about_range, decisions.values())):
        choice = _range_choice(sources, config)
        decisions = without_gain(with_range(decisions, choice, config.opset), decisions, nodes, choice)
    if config.decide == "measured":
        is_soft = partial(_is_threshold, precision=config.precision)
        choices = CoreChoices(is_soft, config.precision, statistics.elements, choice)
        decisions = whole_cores(model.graph, nodes, decisions, choices, ATTENTION_CORE.name)
        fixed = members_of_whole_cores(model.graph, nodes, decisions, choices)
        is_open = partial(_is_open, fixed=fixed)
        decisions = follow_neighbours(facts, decisions, is_open, config, model.graph, NEIGHBOURS.name)
    decisions = _with_groups(decisions, nodes, config, choice)
    warnings = [
        *unmatched_patterns(facts, config),
        *unmatched_recipe(facts, config),
        *unknown_io_names(model.graph, config),
        *overruled_includes(facts, decisions, next((rule for entry, rule in rules if entry is INCLUDE), None)),
    ]
    if statistics.skipped is not None:
        extent = "no calibration" if statistics.origin == "none" else "calibrated in part"
        warnings.append(f"{extent}: {statistics.skipped}; decided by the rules that need no data")
    plan = PrecisionPlan(
        low=config.precision if config.range_precision is None else (config.precision, config.range_precision),
        structure_digest=structure_digest(model),
        weights_digest=weights_digest(model),
        nodes=tuple(decisions.values()),
        settings=_settings(config, policy, kept_io_types(model.graph, nodes, decisions, config)),
        sanitize=tuple(
            SanitizeChange(c.step, c.detail, c.nodes, c.operands or UNSET, c.exponent or UNSET) for c in changes
        ),
        weights=weight_changes(model, facts, decisions, nonfinite_weights(model, weights)),
        data=PlanData(statistics.origin, statistics.digest, statistics.batches, statistics.backend),
    )
    warnings = [*signs_of_ruin(plan, nonfinite_activations(model, statistics)), *warnings]
    for warning in warnings:
        logger.warning("%s", warning)
    return replace(plan, warnings=tuple(warnings))


def _range_choice(sources: FactSources, config: ConversionConfig) -> RangeChoice:
    """What the rules say of all nodes in the second 16-bit type, whose range is the only limit of magnitudes."""
    precision = config.range_precision
    assert precision is not None
    wide = dataclasses.replace(config, precision=precision, range_precision=None)
    facts = collect_facts(sources.without_small_values(), wide, LIMIT_SCALE)
    limit = precision.max / config.headroom
    rules = _rules(sources.model, dataclasses.replace(wide, data_max=limit, init_max=limit))
    decisions = {each.id: _decide_node(each, rules) for each in facts}
    left = config.precision.max / config.headroom if config.decide == "measured" else 0.0
    return RangeChoice(precision, {each.id: each for each in facts}, decisions, left)


def _settings(config: ConversionConfig, policy: OperandPolicy, keep_io_types: bool | tuple[str, ...]) -> PlanSettings:
    return PlanSettings(
        keep_io_types=keep_io_types,
        lower_all_io=config.lower_all_io,
        init_conversion_max_bytes=config.init_conversion_max_bytes,
        operands_to_exclude={
            op_type: {side: tuple(indices) for side, indices in block.items()}
            for op_type, block in policy.blocks.items()
        },
        plugin_precisions=policy.plugins,
    )


class _BuiltRule(NamedTuple):
    entry: RuleEntry
    rule: Rule


def _rules(model: ir.Model, config: ConversionConfig) -> list[_BuiltRule]:
    """The rules that can apply to a node, in the registry's order: each is asked about every node."""
    built = ((entry, entry.build(model, config)) for entry in RULES if entry.build is not None)
    return [_BuiltRule(entry, rule) for entry, rule in built if rule is not None]


def _decide_node(facts: NodeFacts, rules: Sequence[_BuiltRule]) -> NodeDecision:
    entry, rule, match = next((entry, rule, match) for entry, rule in rules if (match := rule.check(facts)) is not None)
    decision = NodeDecision(
        id=facts.id,
        op_type=facts.node.op_type,
        domain=facts.node.domain,
        precision=entry.precision_of(facts),
        rule=rule.name,
        reason=match.reason,
        evidence=match.evidence,
        replaces=facts.names[1:],
    )
    if logger.isEnabledFor(logging.DEBUG):
        _log_matches(facts, entry, decision, rules)
    return decision


def _log_matches(facts: NodeFacts, decider: RuleEntry, decision: NodeDecision, rules: Sequence[_BuiltRule]) -> None:
    """One line for a node that is not kept in FP32; for another one line for each rule that keeps it, as they run."""
    if decider.outcome is not Outcome.FP32:
        logger.debug("%s goes %s: %s", facts.id, decision.precision, decision.rule)
        return
    for entry, rule in rules:
        match = rule.check(facts) if entry.outcome is Outcome.FP32 else None
        if match is not None:
            logger.debug("%s stays FP32: %s: %s", facts.id, rule.name, match.reason)


def _is_threshold(decision: NodeDecision, precision: Precision) -> bool:
    """Whether a threshold on single tensors decided, which does not know what becomes of them, and none overflows."""
    fits = all(each.absmax is None or each.absmax <= precision.max for each in decision.evidence)
    return fits and decision.rule in (IO_RANGE.name, SMALL_VALUES.name)


def _is_open(decision: NodeDecision, fixed: Container[str]) -> bool:
    """Whether a measurement may change the decision, which is no word of the caller's and not about a `fixed` node."""
    entry = entry_of(decision.rule)
    return entry is not CUSTOM and entry.may_be_overridden_by(Override.SEARCH) and decision.id not in fixed


def _with_groups(
    decisions: Mapping[str, NodeDecision],
    nodes: Mapping[str, ir.Node],
    config: ConversionConfig,
    choice: RangeChoice | None,
) -> Mapping[str, NodeDecision]:
    """`decisions` with each group of nodes that need one precision in FP32 where one of them, or a graph I/O, is.

    Groups of both 16-bit types, of which `choice` knows the second, are brought to one.
    """
    border = "a graph input or output that keeps its type" if config.keep_io_types is not False else None
    for entry in RULES:
        if entry.groups is not None:
            groups = tuple(entry.groups(nodes))
            decisions = keep_together(groups, decisions, entry.name, border)
            if choice is not None:
                decisions = joined(decisions, groups, entry.name, choice)
    return decisions
