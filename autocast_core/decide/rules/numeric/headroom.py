"""Keep nodes on tensors that overflow where what they are computed from is `headroom` times larger than in calibration.

- Looks at measured activations; the margin is on the side of the arguments of Exp, Pow, squares and products, see
  `overflow_margins`.
- Looks at the other end too: what becomes zero in front of a Log or in a denominator (`vanishing_operands`).
- Does not look at masks, whose infinities are meant, nor at what overflows without harm.
- Does not run with a headroom of 1: then calibration is taken to have seen everything, as AutoCast does.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class HeadroomRule:
    """Applies where a float input or output may exceed the low type's range, with a margin over what was seen."""

    name = "headroom"

    def __init__(self, headroom: float) -> None:
        self._headroom = headroom

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        small = facts.vanishing
        if small is not None:
            reached = f"{small.smaller:.3g}"
            return RuleMatch(
                f"tensor {small.tensor!r} came down to {small.least:.3g} and may reach {reached}, which is 0 in "
                f"{facts.precision}, in front of {small.operator}",
                (Evidence(small.tensor, min=small.least, detail=f"may reach {reached} with headroom"),),
            )
        for tensor in facts.tensors:
            if tensor.may_reach is None or tensor.is_mask or tensor.is_weight or tensor.stats is None:
                continue
            reached = f"{tensor.may_reach:.3g}"
            return RuleMatch(
                f"tensor {tensor.name!r} reached {tensor.stats.absmax:.6g} and may reach {reached}, over "
                f"{facts.precision.max:g}, where its arguments are {self._headroom:g} times larger",
                (evidence_of(tensor, facts.precision.max, f"may reach {reached} with headroom {self._headroom:g}"),),
            )
        return None


HEADROOM = RuleEntry(
    name=HeadroomRule.name,
    title="headroom",
    description="A tensor exceeds the low type's range where its arguments are `headroom` times larger than "
    "calibration saw them, and the infinity does harm; or becomes zero in front of a Log or in a denominator.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    about_range=True,
    build=lambda model, config: HeadroomRule(config.headroom) if config.headroom > 1.0 else None,
    from_data=True,
)
