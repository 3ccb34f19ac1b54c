"""Which decision of a recipe is about a node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import onnx_ir as ir
from msgspec import UNSET

from autocast_core.recipes.neighbourhood import Neighbourhood, neighbourhood
from autocast_core.recipes.numbered_names import NUMBER, NumberedName
from autocast_core.recipes.recipe import RecipeDecision


class _Decision(NamedTuple):
    """A decision, its names without an open number, and its names with one."""

    decision: RecipeDecision
    literal: frozenset[str]
    patterns: tuple[NumberedName, ...]

    @staticmethod
    def of(decision: RecipeDecision) -> _Decision:
        patterns = tuple(NumberedName(name) for name in decision.names if NUMBER in name)
        return _Decision(decision, frozenset(name for name in decision.names if NUMBER not in name), patterns)

    def is_around(self, around: Neighbourhood) -> bool:
        """Whether a node with this neighbourhood reads, and is read by, what the decision says."""
        reads, read_by = self.decision.reads, self.decision.read_by
        return (reads is UNSET or reads == around.reads) and (read_by is UNSET or read_by == around.read_by)

    def names(self, called: Sequence[str]) -> bool:
        """Whether the decision names no node, or one that is called so."""
        if not self.decision.names or not self.literal.isdisjoint(called):
            return True
        return any(pattern.matches(name) for pattern in self.patterns for name in called)


class DecisionMatcher:
    """The decisions of a recipe, ready to be asked about nodes; of several that match, the first counts."""

    def __init__(self, decisions: Iterable[RecipeDecision]) -> None:
        self._by_operator: dict[tuple[str, str], list[_Decision]] = {}
        for each in decisions:
            self._by_operator.setdefault((each.domain, each.op_type), []).append(_Decision.of(each))

    def match(self, node: ir.Node, names: Iterable[str]) -> RecipeDecision | None:
        """The decision about `node`, which is called by its own name or those that it replaces; None without one."""
        candidates = self._by_operator.get((node.domain, node.op_type))
        if candidates is None:
            return None
        called, around = tuple(names), neighbourhood(node)
        return next((each.decision for each in candidates if each.is_around(around) and each.names(called)), None)
