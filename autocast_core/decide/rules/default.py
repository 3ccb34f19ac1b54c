"""Every node that no other rule has decided takes the low type."""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import Outcome, Override, RuleEntry, RuleMatch


class DefaultRule:
    """Applies to every node."""

    name = "default"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return RuleMatch("")


DEFAULT = RuleEntry(
    name=DefaultRule.name,
    title="default",
    description="No other rule has decided the node.",
    outcome=Outcome.LOW,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
    build=lambda model, config: DefaultRule(),
)
