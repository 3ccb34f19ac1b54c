"""Keep nodes on angles that grow with the sequence, so that their sine means nothing in 16 bits sooner or later.

- Looks at arguments of Sin, Cos and Tan, and at the arithmetic behind them, that are computed from positions or summed
  up along an axis (`growing_angles`), however large calibration saw them: longer sequences have larger ones.
- Leaves all other angles to rule ``conditioning``, which judges how large they are.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch


class AnglesRule:
    """Applies where a tensor is, or becomes, an angle that is computed from integers or is a running sum."""

    name = "angles"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for tensor in facts.tensors:
            if not tensor.is_angle:
                continue
            source = (
                "computed from integers, which grow" if tensor.is_position else "part of a running sum, which grows"
            )
            return RuleMatch(
                f"angle {tensor.name!r} is {source} with the sequence",
                (
                    evidence_of(
                        tensor,
                        detail="angle computed from integers" if tensor.is_position else "angle of a running sum",
                    ),
                ),
            )
        return None


ANGLES = RuleEntry(
    name=AnglesRule.name,
    title="angles",
    description="The argument of a Sin, Cos or Tan is computed from positions, or is a running sum.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: AnglesRule(),
    exact_operands=True,
)
