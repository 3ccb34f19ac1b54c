"""Keep nodes that add up more values per output element than allowed.

- Counts addends by operator and static shapes (`depth.reduction_depth`); needs no data.
- Does not keep a node whose shapes do not tell, and does not run without ``max_depth_of_reduction``.
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.depth import reduction_depth
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_OR_SEARCH, Outcome, RuleEntry, RuleMatch
from autocast_core.plan import Evidence


class ReductionDepthRule:
    """Applies where one output element is a sum of more than the allowed number of addends."""

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


def _build(model: ir.Model, config: ConversionConfig) -> ReductionDepthRule | None:
    limit = config.max_depth_of_reduction
    return None if limit is None else ReductionDepthRule(limit)


REDUCTION_DEPTH = RuleEntry(
    name=ReductionDepthRule.name,
    title="depth of reduction",
    description="One output element is a sum of more than `max_depth_of_reduction` addends.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_OR_SEARCH,
    build=_build,
)
