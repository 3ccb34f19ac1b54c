"""Keep float arithmetic whose results are sizes, indices or scales."""

from __future__ import annotations

from autocast_core.decide.node_facts import NodeFacts, RuleMatch
from autocast_core.plan import Evidence


class ShapeArithmeticRule:
    """Fires for a node that computes from integers and whose results end as integers, comparisons or Resize scales.

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
