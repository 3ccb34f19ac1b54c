"""Which nodes may be low, and why the others are not."""

from autocast_core.decide.decide import decide
from autocast_core.decide.node_facts import NodeFacts, RuleMatch, TensorFacts
from autocast_core.decide.rule import NodeRuleBase, Rule

__all__ = ["NodeFacts", "NodeRuleBase", "Rule", "RuleMatch", "TensorFacts", "decide"]
