"""Keep nodes on angles that are too large for their sine to mean anything in 16 bits.

- Looks at arguments of Sin, Cos and Tan, and at the arithmetic behind them (`exact_values.ExactValues.angles`).
- Keeps angles that are computed from positions without looking at their range, which grows with the sequence.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.rule import INCLUDE_OR_SEARCH, Outcome, RuleEntry, RuleMatch

ANGLE_LIMIT = 16.0
"""Radians. Rounding an angle of 2**k to p bits moves it by up to 2**(k - p), and its sine with it: beyond 2**4 more
than four of the p bits are lost."""


class AnglesRule:
    """Applies where an angle (what a Sin, Cos or Tan is taken of) exceeds the limit, or is computed from positions.

    Positions and time steps come from integers and grow with the sequence, whatever length the data had.
    """

    name = "angles"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for tensor in facts.tensors:
            if not tensor.is_angle:
                continue
            if tensor.is_position:
                return RuleMatch(
                    f"angle {tensor.name!r} is computed from integers, which grow with the sequence",
                    (evidence_of(tensor, ANGLE_LIMIT, "angle computed from integers"),),
                )
            if tensor.stats is not None and tensor.stats.absmax > ANGLE_LIMIT:
                return RuleMatch(
                    f"angle {tensor.name!r} reaches {tensor.stats.absmax:.6g} radians, over {ANGLE_LIMIT:g}",
                    (evidence_of(tensor, ANGLE_LIMIT, "angle"),),
                )
        return None


ANGLES = RuleEntry(
    name=AnglesRule.name,
    title="angles",
    description="The argument of a Sin, Cos or Tan exceeds 16 radians or is computed from positions.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_OR_SEARCH,
    build=lambda model, config: AnglesRule(),
)
