"""Keep a node in FP32, or make it low, by its name or operator type, as the user asked.

- Patterns match the start of a name, as re.match does, and also the names that a fused node replaces.
- Operator types match exactly; the domain does not matter.
- A node that has 16 bits in the source model goes to FP32 too where it is excluded, unless no schema describes it.
"""

from __future__ import annotations

from collections.abc import Iterable

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, NOTHING, Outcome, RuleEntry, RuleMatch
from autocast_core.name_patterns import NamePattern


class NodeNameRule:
    """Applies where a pattern matches the start (re.match) of the node's name or of one it was fused from."""

    name = "node_name"

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [NamePattern(text) for text in patterns]

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if facts.operands.is_fixed:
            return None
        for pattern in self._patterns:
            matched = next((name for name in facts.names if pattern.matches(name)), None)
            if matched is not None:
                return RuleMatch(f"name {matched!r} matches {pattern.text!r}")
        return None


class OperatorTypeRule:
    """Applies where the node's operator type is one of those named, exactly."""

    name = "op_type"

    def __init__(self, op_types: Iterable[str]) -> None:
        self._op_types = frozenset(op_types)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if facts.node.op_type in self._op_types and not facts.operands.is_fixed:
            return RuleMatch(f"operator type {facts.node.op_type}")
        return None


class IncludeRule:
    """Applies where a name pattern matches as in NodeNameRule, or else an operator type as in OperatorTypeRule."""

    name = "include"

    def __init__(self, patterns: Iterable[str], op_types: Iterable[str]) -> None:
        self._by_name = NodeNameRule(patterns)
        self._by_type = OperatorTypeRule(op_types)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return self._by_name.check(facts) or self._by_type.check(facts)


INCLUDE = RuleEntry(
    name=IncludeRule.name,
    title="include options",
    description="`nodes_to_include` or `op_types_to_include` names the node.",
    outcome=Outcome.LOW,
    overridden_by=NOTHING,
    build=lambda model, config: (
        IncludeRule(config.nodes_to_include, config.op_types_to_include)
        if config.nodes_to_include or config.op_types_to_include
        else None
    ),
)
NODE_NAME = RuleEntry(
    name=NodeNameRule.name,
    title="excluded names",
    description="A pattern of `nodes_to_exclude` matches the node's name, or a name that a fused node replaces.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: NodeNameRule(config.nodes_to_exclude) if config.nodes_to_exclude else None,
)
OPERATOR_TYPE = RuleEntry(
    name=OperatorTypeRule.name,
    title="excluded operator types",
    description="`op_types_to_exclude` names the node's operator type.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: OperatorTypeRule(config.op_types_to_exclude) if config.op_types_to_exclude else None,
)
