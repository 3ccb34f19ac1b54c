"""Keep nodes that amplify the rounding of what they read, and what computes it.

- Looks at condition numbers at the ranges of the calibration data (`amplified_rounding`): differences that cancel, the
  logarithm near 1, Exp and Pow with large arguments, Mod, Sin and Cos of large angles, coordinates of pixels.
- Does not look at single elements: a tensor counts as a whole.
- Does not run without statistics.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rounding.amplified_rounding import AMPLIFICATION_LIMIT
from autocast_core.decide.rule import SOFT, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class ConditioningRule:
    """Applies to a node with a condition number over the limit, and to what computes its operand."""

    name = "conditioning"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        found = facts.amplification
        if found is None:
            return None
        detail = f"{found.operator} {found.node!r} amplifies rounding by {found.factor:.6g}"
        return RuleMatch(
            f"{found.operator} {found.node!r} multiplies the relative rounding error of {found.tensor!r} by "
            f"{found.factor:.3g}, over {AMPLIFICATION_LIMIT:.3g}",
            (Evidence(tensor=found.tensor, limit=AMPLIFICATION_LIMIT, detail=detail),),
        )


CONDITIONING = RuleEntry(
    name=ConditioningRule.name,
    title="conditioning",
    description="The node, or one that it computes for, multiplies the relative rounding of an operand by over 14.",
    outcome=Outcome.FP32,
    overridden_by=SOFT,
    build=lambda model, config: ConditioningRule(),
    exact_operands=True,
    from_data=True,
)
