"""Which decision of a recipe is about a node."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir
from msgspec import UNSET

from autocast_core.recipes.neighbourhood import neighbourhood
from autocast_core.recipes.numbered_names import NumberedName
from autocast_core.recipes.recipe import RecipeDecision


class DecisionMatcher:
    """The decisions of a recipe, ready to be asked about nodes; of several that match, the first counts."""

    def __init__(self, decisions: Iterable[RecipeDecision]) -> None:
        self._by_operator: dict[tuple[str, str], list[tuple[RecipeDecision, tuple[NumberedName, ...]]]] = {}
        for each in decisions:
            names = tuple(map(NumberedName, each.names))
            self._by_operator.setdefault((each.domain, each.op_type), []).append((each, names))

    def match(self, node: ir.Node, names: Iterable[str]) -> RecipeDecision | None:
        """The decision about `node`, which is called by its own name or those that it replaces; None without one."""
        candidates = self._by_operator.get((node.domain, node.op_type))
        if candidates is None:
            return None
        called, around = tuple(names), neighbourhood(node)
        for decision, patterns in candidates:
            named = not patterns or any(pattern.matches(name) for pattern in patterns for name in called)
            reads = decision.reads is UNSET or decision.reads == around.reads
            if named and reads and (decision.read_by is UNSET or decision.read_by == around.read_by):
                return decision
        return None
