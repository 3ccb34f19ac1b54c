"""Which nodes may be low, and why the others are not."""

from autocast_core.decide.decide import decide
from autocast_core.decide.node_facts import NodeFacts, TensorFacts
from autocast_core.decide.rule import NodeRuleBase, Rule, RuleMatch

__all__ = ["NodeFacts", "NodeRuleBase", "Rule", "RuleMatch", "TensorFacts", "decide"]
