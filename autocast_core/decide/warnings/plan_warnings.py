"""What a plan warns of: signs of ruin that show without a measurement, that nothing was done, options that match
nothing, and includes that something stronger overrules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import Outcome, Override, Rule
from autocast_core.decide.rules import entry_of
from autocast_core.name_patterns import NamePattern
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.recipes import DecisionMatcher, recipe_of


def signs_of_ruin(plan: PrecisionPlan, nonfinite_activations: str | None) -> list[str]:
    """One warning each: nothing lowered, NaN or infinity in weights or in calibration, weights beyond the low type."""
    clamped = [each for each in plan.weights if each.clamped]
    found = [plan.nothing_lowered(), plan.nonfinite_weights(), nonfinite_activations]
    if clamped:
        others = f", as do {len(clamped) - 1} more weights" if len(clamped) > 1 else ""
        found.append(
            f"weight {clamped[0].tensor!r} has {clamped[0].clamped:,} elements beyond ±{plan.precision.max:g}, which"
            f" become that{others}"
        )
    return [warning for warning in found if warning is not None]


def unmatched_patterns(facts: Sequence[NodeFacts], config: ConversionConfig) -> list[str]:
    """One warning for each name pattern and operator type of `config` that matches none of the nodes."""
    warnings = []
    names = [name for each in facts for name in each.names]
    op_types = {each.node.op_type for each in facts}
    for option in ("nodes_to_exclude", "nodes_to_include"):
        for pattern in getattr(config, option):
            compiled = NamePattern(pattern)
            if not any(compiled.matches(name) for name in names):
                warnings.append(f"{option} pattern {pattern!r} matches no node")
    for option in ("op_types_to_exclude", "op_types_to_include"):
        warnings.extend(
            f"{option} type {op_type!r} matches no node"
            for op_type in getattr(config, option)
            if op_type not in op_types
        )
    return warnings


def unmatched_recipe(facts: Sequence[NodeFacts], config: ConversionConfig) -> list[str]:
    """A warning where no decision of the recipe for the conversion's type is about a node of the model."""
    if config.recipe is None:
        return []
    recipe = recipe_of(config.recipe)
    matcher = DecisionMatcher(recipe.for_type(config.precision))
    if any(matcher.match(each.node, each.names) is not None for each in facts):
        return []
    return [f"recipe {recipe.name!r} is about no node of this model in {config.precision}: it is for {recipe.family}"]


def unknown_io_names(graph: ir.Graph, config: ConversionConfig) -> list[str]:
    """One warning for each name in ``keep_io_types`` that no input or output of the graph has."""
    if isinstance(config.keep_io_types, bool):
        return []
    known = {value.name for value in (*graph.inputs, *graph.outputs)}
    return [
        f"keep_io_types name {name!r} is not a graph input or output"
        for name in config.keep_io_types
        if name not in known
    ]


def overruled_includes(
    facts: Sequence[NodeFacts], decisions: Mapping[str, NodeDecision], include: Rule | None
) -> list[str]:
    """One warning for each node that `include` applies to and that a rule stronger than it keeps in FP32."""
    if include is None:
        return []
    warnings = []
    for each in facts:
        decision = decisions[each.id]
        entry = entry_of(decision.rule)
        overruled = entry.outcome is Outcome.FP32 and not entry.may_be_overridden_by(Override.INCLUDE)
        if overruled and include.check(each) is not None:
            warnings.append(f"{each.id} was to be included but stays FP32: {decision.reason}")
    return warnings
