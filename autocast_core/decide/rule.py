"""The Protocol of a classification rule, and the adapter for AutoCast's own kind."""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

import onnx_ir as ir

from autocast_core.decide.node_facts import NodeFacts, RuleMatch

logger = logging.getLogger(__name__)


@runtime_checkable
class Rule(Protocol):
    """Looks at one node and says why it should stay in FP32, or None.

    A custom rule is any object with a `name` and such a `check`; it is asked last.
    """

    name: str

    def check(self, facts: NodeFacts) -> RuleMatch | None: ...


class NodeRuleBase:
    """AutoCast's interface for custom rules: a subclass says in `_check_inner` whether a node must stay in FP32.

    `_check_inner` gets an onnx.NodeProto, as AutoCast's rules do, and returns True to keep the node in FP32.
    """

    def check(self, node: Any) -> bool:
        """Whether the node must stay in FP32."""
        return bool(self._check_inner(node))

    def _check_inner(self, node: Any) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must define _check_inner(node)")


class AutoCastRule:
    """A NodeRuleBase (or AutoCast's own) seen as a Rule."""

    def __init__(self, inner: Any) -> None:
        self.name = "custom"
        self._inner = inner

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        proto = ir.serde.serialize_node(facts.node)
        if self._inner.check(proto):
            return RuleMatch(f"custom rule {type(self._inner).__name__} keeps it")
        return None


def custom_rule(rule: Any) -> Rule:
    """`rule` as a Rule: AutoCast's kind (``_check_inner``) is adapted, ours is taken as it is."""
    return AutoCastRule(rule) if hasattr(rule, "_check_inner") else rule
