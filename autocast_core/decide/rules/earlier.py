"""Keep what an earlier conversion of the same model kept."""

from __future__ import annotations

from collections.abc import Iterable

from autocast_core.decide.node_facts import NodeFacts, RuleMatch


class EarlierConversionRule:
    """Fires for the nodes that the model's metadata says an earlier conversion kept in FP32."""

    name = "earlier_conversion"

    def __init__(self, kept: Iterable[str]) -> None:
        self._kept = frozenset(kept)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        return RuleMatch("an earlier conversion kept it in FP32") if facts.id in self._kept else None
