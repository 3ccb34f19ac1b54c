"""Keep float arithmetic whose results are sizes, indices or scales.

- Keeps nodes that compute from integers and whose results all end as integers, comparisons among such values, or scales
  of a Resize (`exact_values.ExactValues.sizes`).
- Does not keep a node of which any result is computed with by the network itself.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class ShapeArithmeticRule:
    """Applies to a node that computes from integers and whose results end as integers, comparisons or Resize scales.

    One rounding there is another shape or another element, not a small error.
    """

    name = "shape_arithmetic"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if not facts.makes_sizes:
            return None
        names = ", ".join(repr(value.name) for value in facts.node.outputs if value.name)
        evidence = tuple(
            Evidence(tensor=value.name, detail="computed from integers, ends as integers or scales")
            for value in facts.node.outputs
            if value.name
        )
        return RuleMatch(f"computes sizes or indices: {names}", evidence)


SHAPE_ARITHMETIC = RuleEntry(
    name=ShapeArithmeticRule.name,
    title="shape arithmetic",
    description="The node computes from integers, and its results end as integers, comparisons or scales of a Resize.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: ShapeArithmeticRule(),
)
