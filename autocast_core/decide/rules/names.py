"""Keep (or include) a node by its name or operator type, as the user asked."""

from __future__ import annotations

import re
from collections.abc import Iterable

from autocast_core.decide.node_facts import NodeFacts, RuleMatch


class NodeNameRule:
    """Fires where a pattern matches the start (re.match) of the node's name or of one it was fused from."""

    name = "node_name"

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [(text, re.compile(text)) for text in patterns]

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for text, pattern in self._patterns:
            matched = next((name for name in facts.names if pattern.match(name)), None)
            if matched is not None:
                return RuleMatch(f"name {matched!r} matches {text!r}")
        return None


class OperatorTypeRule:
    """Fires where the node's operator type is one of those named, exactly."""

    name = "op_type"

    def __init__(self, op_types: Iterable[str]) -> None:
        self._op_types = frozenset(op_types)

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if facts.node.op_type in self._op_types:
            return RuleMatch(f"operator type {facts.node.op_type}")
        return None
