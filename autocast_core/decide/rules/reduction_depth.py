"""Keep nodes that add up more values per output element than allowed."""

from __future__ import annotations

from autocast_core.decide.depth import reduction_depth
from autocast_core.decide.node_facts import NodeFacts, RuleMatch
from autocast_core.plan import Evidence


class ReductionDepthRule:
    """Fires where one output element is a sum of more than the allowed number of addends."""

    name = "reduction_depth"

    def __init__(self, max_depth: int) -> None:
        self._limit = max_depth

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        depth = reduction_depth(facts.node)
        if depth is None or depth <= self._limit:
            return None
        return RuleMatch(
            f"each output element sums {depth} values, over max_depth_of_reduction {self._limit}",
            (Evidence(limit=float(self._limit), detail=f"depth of reduction {depth}"),),
        )
