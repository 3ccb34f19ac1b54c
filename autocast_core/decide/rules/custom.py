"""A rule of the user's, in one of two forms.

- An object with a `name`, which plans record, and ``check(facts: NodeFacts) -> RuleMatch | None``.
- AutoCast's kind, a NodeRuleBase or any object that has ``_check_inner`` or no `name`:
  ``check(node: onnx.NodeProto) -> bool``. Plans record it as ``custom``.

It runs after all rules but those that a release may override, and can only keep nodes in FP32.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_OR_SEARCH, Outcome, Rule, RuleEntry, RuleMatch
from autocast_core.errors import ConfigError


class AutoCastRule:
    """AutoCast's kind of rule seen as a Rule."""

    name = "custom"

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        proto = ir.serde.serialize_node(facts.node)
        if self._inner.check(proto):
            return RuleMatch(f"custom rule {type(self._inner).__name__} keeps it")
        return None


def custom_rule(rule: Any) -> Rule:
    """`rule` as a Rule: AutoCast's kind is adapted, ours is taken as it is. ConfigError for what has no `check`."""
    if not callable(getattr(rule, "check", None)):
        raise ConfigError(f"custom_rule is a {type(rule).__name__} without a method check: give it check(node)")
    return rule if hasattr(rule, "name") and not hasattr(rule, "_check_inner") else AutoCastRule(rule)


CUSTOM = RuleEntry(
    name=AutoCastRule.name,
    title="a custom rule",
    description="The rule that the caller gave as `custom_rule` keeps the node; a plan records the rule's own name.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_OR_SEARCH,
    build=lambda model, config: None if config.custom_rule is None else custom_rule(config.custom_rule),
)
