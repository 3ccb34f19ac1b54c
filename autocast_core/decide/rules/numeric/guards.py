"""Keep what a tiny constant protects, from the constant on, where the low type would make it zero.

- Looks at constants that are added to, or bound from below, what a Div, Reciprocal, Log, Sqrt or Pow takes
  (`guarded_nodes`): x / max(norm, 1e-12) is 0 / 0 in FP16 for a row of zeros.
- Needs no data, and calibration data without a zero row proves nothing: so no search may release such a node.
- Does not keep what comes behind a result that the low type holds.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class GuardsRule:
    """Applies to a node that takes or gives what a guard bounds, where the low type has no such number."""

    name = "guards"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        guard = facts.guard
        if guard is None:
            return None
        return RuleMatch(
            f"{guard.constant!r} = {guard.value:.3g} keeps the operand of {guard.operator} from zero; "
            f"{facts.precision} does not",
            (Evidence(tensor=guard.constant, absmax=guard.value, detail=f"guard of {guard.operator}"),),
        )


GUARDS = RuleEntry(
    name=GuardsRule.name,
    title="guards",
    description="A tiny constant that protects a Div, Reciprocal, Log, Sqrt or Pow is zero in the low type, or its "
    "reciprocal infinite.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: GuardsRule(),
)
