"""Keep the products of attention cores in FP32, where the caller says that the target adds up in FP16.

- Their operands are cast up in front of them and their results down behind: an engine makes one kernel of such a core
  all the same, and adds up in FP32.
- Acts with ``upcast_attention`` on FP16, and on cores that an engine can compute as one kernel. Does not act on
  operators that are a core by themselves.
- Adds no range: what a product makes still crosses in FP16.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from autocast_core.attention import attention_cores, fusion_obstacles
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch


class UpcastAttentionRule:
    """Applies to the nodes of these ids."""

    name = "upcast_attention"

    def __init__(self, products: Collection[str]) -> None:
        self._products = frozenset(products)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if facts.id not in self._products or facts.operands.is_fixed:
            return None
        return RuleMatch("a product of an attention core, whose operands are cast up so that it adds up in FP32")


def _build(model: ir.Model, config: ConversionConfig) -> UpcastAttentionRule | None:
    if not config.upcast_attention or config.precision is not Precision.FP16:
        return None
    cores = [core for core in attention_cores(model.graph) if core.operator is None]
    whole = (core for core in cores if not fusion_obstacles(core, dict.fromkeys(core.computing, ir.DataType.FLOAT16)))
    return UpcastAttentionRule([product for core in whole for product in core.products])


UPCAST_ATTENTION = RuleEntry(
    name=UpcastAttentionRule.name,
    title="upcast attention",
    description="`upcast_attention`: the node is a product of an attention core that stays one kernel so.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=_build,
)
