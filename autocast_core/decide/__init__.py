"""Which nodes may be low, and why the others are not."""

from autocast_core.decide.classifier import classify
from autocast_core.decide.facts import NodeFacts, TensorFacts, Verdict
from autocast_core.decide.rule import NodeRuleBase, Rule

__all__ = ["NodeFacts", "NodeRuleBase", "Rule", "TensorFacts", "Verdict", "classify"]
