"""Nodes whose precision is not open to choice, by what is known of their operands.

- A node without a float input or output has no precision.
- A node that has 16-bit types in the source model keeps them, unless the user excludes it.
- A custom operator named in ``trt_plugins_precision`` has the precision named there.
- A node that no schema allows to be low at the model's opset stays in FP32; so do all nodes that share a sequence or
  an optional with a node in FP32, since no Cast takes such a value.
"""

from __future__ import annotations

from autocast_core.decide.groups import uncastable_groups
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import NOTHING, Outcome, RuleEntry, RuleMatch
from autocast_core.plan.plan import ALREADY_LOW_RULE


class NoFloatRule:
    """Applies to a node that touches no float tensor."""

    name = "no_float"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return None if facts.operands.is_float else RuleMatch("touches no float tensor")


class AlreadyLowRule:
    """Applies to a node that has a low precision in the source model."""

    name = ALREADY_LOW_RULE

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return None if facts.operands.current is None else RuleMatch("has 16-bit types in the source model")


class PluginPrecisionRule:
    """Applies to a custom operator whose precision the user declares, FP32 included."""

    name = "plugin_precision"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return None if facts.operands.demanded is None else RuleMatch("trt_plugins_precision demands it")


class LegalityRule:
    """Applies to a node that has no form in the low type at the model's opset; the reason says which opset has one."""

    name = "legality"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        refusal, current = facts.operands.refusal, facts.operands.current
        return None if refusal is None or current is not None else RuleMatch(refusal)


NO_FLOAT = RuleEntry(
    name=NoFloatRule.name,
    title="no float tensor",
    description="The node has no float input or output.",
    outcome=Outcome.NONE,
    overridden_by=NOTHING,
    build=lambda model, config: NoFloatRule(),
)
ALREADY_LOW = RuleEntry(
    name=AlreadyLowRule.name,
    title="already low",
    description="The node has 16-bit types in the source model, and no option excludes it.",
    outcome=Outcome.DECLARED,
    overridden_by=NOTHING,
    build=lambda model, config: AlreadyLowRule(),
)
PLUGIN_PRECISION = RuleEntry(
    name=PluginPrecisionRule.name,
    title="plugin precision",
    description="`trt_plugins_precision` names the precision of the custom operator.",
    outcome=Outcome.DECLARED,
    overridden_by=NOTHING,
    build=lambda model, config: PluginPrecisionRule(),
)
LEGALITY = RuleEntry(
    name=LegalityRule.name,
    title="legality",
    description=(
        "The operator's schema at the model's opset does not allow the low type, or the node shares a sequence or an "
        "optional, which no Cast takes, with a node that stays in FP32."
    ),
    outcome=Outcome.FP32,
    overridden_by=NOTHING,
    build=lambda model, config: LegalityRule(),
    groups=uncastable_groups,
)
