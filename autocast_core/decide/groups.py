"""Groups of nodes that need one precision.

- A QuantizeLinear and the DequantizeLinear nodes that read it, directly or through layout operators: a scale must undo
  itself exactly. TensorRT fuses a pair only where both have the same scale, and a scale rounded on one side alone is a
  gain error.
- Nodes that share a sequence or an optional of floats, since no Cast takes such a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.operators import element_type, is_tensor, ports_of
from autocast_core.operators.families import KEEPS_QUANTIZATION, is_in
from autocast_core.plan import NodeDecision


class NodeGroup(NamedTuple):
    """Nodes that need one precision.

    `nodes` are their ids; `relation` begins the reason why one of them stays in FP32, which what keeps the others ends;
    `at_graph_border` says whether a value that joins them is an input or output of the graph.
    """

    nodes: frozenset[str]
    relation: str
    at_graph_border: bool = False


def quantization_pairs(ids: Mapping[str, ir.Node]) -> list[NodeGroup]:
    """Each QuantizeLinear among `ids` (nodes by id) with the DequantizeLinear nodes that read it."""
    by_node = {node: node_id for node_id, node in ids.items()}
    found = []
    for node_id, node in ids.items():
        if _is(node, "QuantizeLinear"):
            readers = {by_node[reader] for reader in _dequantizers(node.outputs[0]) if reader in by_node}
            if readers:
                relation = f"quantizes {node.outputs[0].name or ''!r} with the scale of"
                found.append(NodeGroup(frozenset({node_id, *readers}), relation))
    return found


def _dequantizers(value: ir.Value) -> list[ir.Node]:
    found, pending = [], [value]
    while pending:
        for node, index in pending.pop().uses():
            if _is(node, "DequantizeLinear") and index == 0:
                found.append(node)
            elif is_in(node, KEEPS_QUANTIZATION) and index == 0:
                pending.extend(node.outputs)
    return found


def _is(node: ir.Node, op_type: str) -> bool:
    return node.domain == "" and node.op_type == op_type


def uncastable_groups(ids: Mapping[str, ir.Node]) -> list[NodeGroup]:
    """The nodes among `ids` (nodes by id) that sequences or optionals of FP32 join, directly or through others."""
    union = _DisjointSets()
    values: list[ir.Value] = []
    for node_id, node in ids.items():
        for value in _uncastable(node):
            values.append(value)
            union.join(value, node_id)
    members: dict[object, set[str]] = {}
    for node_id in ids:
        if node_id in union:
            members.setdefault(union.root(node_id), set()).add(node_id)
    names: dict[object, str] = {}
    at_border: set[object] = set()
    for value in values:
        names.setdefault(union.root(value), value.name or "")
        if value.is_graph_input() or value.is_graph_output():
            at_border.add(union.root(value))
    return [
        NodeGroup(frozenset(group), f"shares {names[key]!r}, which no Cast takes, with", key in at_border)
        for key, group in members.items()
    ]


class _DisjointSets:
    """Union-find with path halving over hashable items."""

    def __init__(self) -> None:
        self._parents: dict[object, object] = {}

    def __contains__(self, item: object) -> bool:
        return item in self._parents

    def root(self, item: object) -> object:
        """The item that stands for the set of `item`."""
        parents = self._parents
        while parents.setdefault(item, item) is not item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def join(self, item: object, other: object) -> None:
        """Make one set of those of the two items; the root of `other` stands for it."""
        self._parents[self.root(item)] = self.root(other)


def _uncastable(node: ir.Node) -> Iterator[ir.Value]:
    """The values of FP32 at the node, or passed by its bodies, that are not tensors."""
    ports = ports_of(node)
    inner = [part for port in ports for part in (port.inner_input, *port.inner_outputs)] if ports else ()
    for value in (*node.inputs, *node.outputs, *inner):
        if value is not None and not is_tensor(value) and element_type(value) == ir.DataType.FLOAT:
            yield value


def keep_together(
    groups: Iterable[NodeGroup], decisions: Mapping[str, NodeDecision], rule: str, border: str | None
) -> dict[str, NodeDecision]:
    """`decisions` (by node id) with the low nodes in FP32 of whose group another node is in FP32.

    A group that a graph input or output takes part in goes to FP32 too where `border`, the name of such in reasons, is
    given. `rule` is recorded as the rule of the nodes that change.
    """
    decided = dict(decisions)
    for group in groups:
        held = next((node for node in sorted(group.nodes) if decided[node].precision == Precision.FP32), None)
        keeper = f"node {held!r}, which stays FP32" if held is not None else border if group.at_graph_border else None
        if keeper is None:
            continue
        for node in group.nodes:
            if decided[node].precision.is_low:
                reason = f"{group.relation} {keeper}"
                decided[node] = replace(decided[node], precision=Precision.FP32, rule=rule, reason=reason)
    return decided
