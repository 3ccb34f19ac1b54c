"""Groups of nodes that need one precision.

- A QuantizeLinear and the DequantizeLinear nodes that read it, directly or through layout operators: a scale must undo
  itself exactly. TensorRT fuses a pair only where both have the same scale, and a scale rounded on one side alone is a
  gain error.
- Nodes that share a sequence or an optional of floats, since no Cast takes such a value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.operators import element_type, is_tensor, ports_of
from autocast_core.operators.families import KEEPS_QUANTIZATION, is_in


class NodeGroup(NamedTuple):
    """Nodes that need one precision.

    `value` is the name of a value that joins them, `nodes` are their ids, `at_graph_border` says whether a value that
    joins them is an input or output of the graph.
    """

    value: str
    nodes: frozenset[str]
    at_graph_border: bool = False


def quantization_pairs(ids: Mapping[str, ir.Node]) -> list[NodeGroup]:
    """Each QuantizeLinear among `ids` (nodes by id) with the DequantizeLinear nodes that read it."""
    by_node = {node: node_id for node_id, node in ids.items()}
    found = []
    for node_id, node in ids.items():
        if _is(node, "QuantizeLinear"):
            readers = {by_node[reader] for reader in _dequantizers(node.outputs[0]) if reader in by_node}
            if readers:
                found.append(NodeGroup(node.outputs[0].name or "", frozenset({node_id, *readers})))
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
    return [NodeGroup(names[key], frozenset(group), key in at_border) for key, group in members.items()]


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
    """The values of FP32 at the node, or passed by its bodies, that are no tensors."""
    ports = ports_of(node)
    inner = [part for port in ports for part in (port.inner_input, *port.inner_outputs)] if ports else ()
    for value in (*node.inputs, *node.outputs, *inner):
        if value is not None and not is_tensor(value) and element_type(value) == ir.DataType.FLOAT:
            yield value
