"""Keep float arithmetic whose results are sizes, indices or scales.

- Keeps nodes that compute from integers and whose results all end as integers, comparisons among such values, or scales
  of a Resize (`exact_values.ExactValues.sizes`).
- Keeps nodes whose results become integers although they come from the network: durations in frames, places to read
  from, numbers of elements (`integer_ends`).
- Does not keep what only becomes an image or a quantized number of 8 bits.
"""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class ShapeArithmeticRule:
    """Applies to a node whose results end as integers, comparisons or Resize scales.

    One rounding there is another shape or another element, not a small error.
    """

    name = "shape_arithmetic"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        names = [value.name for value in facts.node.outputs if value.name]
        if facts.makes_sizes:
            detail = "computed from integers, ends as integers or scales"
            evidence = tuple(Evidence(tensor=name, detail=detail) for name in names)
            return RuleMatch(f"computes sizes or indices: {', '.join(map(repr, names))}", evidence)
        end = facts.integer_end
        if end is not None:
            detail = f"becomes an integer at {end.operator} {end.node!r}"
            reason = f"computes {end.tensor!r}, which {detail}: rounded, it may be another"
            return RuleMatch(reason, (Evidence(tensor=end.tensor, detail=detail),))
        return None


SHAPE_ARITHMETIC = RuleEntry(
    name=ShapeArithmeticRule.name,
    title="shape arithmetic",
    description="The node's results end as integers (sizes, indices, counts), as comparisons among such, or as scales "
    "of a Resize.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: ShapeArithmeticRule(),
    exact_operands=True,
)
