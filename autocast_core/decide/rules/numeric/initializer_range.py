"""Keep nodes whose initializers exceed `init_max`.

- Looks at float initializers and Constants that would be stored in the low type.
- Does not keep a node for an attention mask that the low type holds: nothing depends on its exact values.
"""

from __future__ import annotations

import math

from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.ranges.range_limits import range_limit
from autocast_core.decide.rule import INCLUDE_OR_SEARCH, Outcome, RuleEntry, RuleMatch


class InitializerRangeRule:
    """Applies where a weight that would be stored in 16 bits holds a magnitude over the limit.

    A mask may, as long as the low type holds it: nothing depends on its exact values.
    """

    name = "initializer_range"

    def __init__(self, init_max: float) -> None:
        self._limit = init_max

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for tensor in facts.tensors:
            if not tensor.is_weight or tensor.stats is None:
                continue
            if tensor.is_mask and not facts.precision.max < tensor.masked_extreme < math.inf:
                continue
            if tensor.stats.absmax > self._limit:
                return RuleMatch(
                    f"initializer {tensor.name!r} reaches {tensor.stats.absmax:.6g}, over init_max {self._limit:g}",
                    (evidence_of(tensor, self._limit),),
                )
        return None


INITIALIZER_RANGE = RuleEntry(
    name=InitializerRangeRule.name,
    title="initializer range",
    description="A weight that would be stored in the low type, and is not an attention mask, exceeds `init_max`.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_OR_SEARCH,
    build=lambda model, config: InitializerRangeRule(range_limit(config, "init_max")),
    about_range=True,
)
