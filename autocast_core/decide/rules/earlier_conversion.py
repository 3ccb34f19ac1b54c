"""Keep what an earlier conversion of the same model kept.

- The ids of those nodes stand in the model's metadata, which `apply` writes.
- Nodes that have since been renamed are not recognized.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.graph.annotations import kept_nodes


class EarlierConversionRule:
    """Applies to the nodes that the model's metadata says an earlier conversion kept in FP32."""

    name = "earlier_conversion"

    def __init__(self, kept: Iterable[str]) -> None:
        self._kept = frozenset(kept)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return RuleMatch("an earlier conversion kept it in FP32") if facts.id in self._kept else None


def _build(model: ir.Model, config: ConversionConfig) -> EarlierConversionRule | None:
    kept = kept_nodes(model)
    return EarlierConversionRule(kept) if kept else None


EARLIER_CONVERSION = RuleEntry(
    name=EarlierConversionRule.name,
    title="an earlier conversion",
    description="The model's metadata says that an earlier conversion kept the node in FP32.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=_build,
)
