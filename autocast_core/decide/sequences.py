"""Nodes that share a sequence or an optional of floats need one precision, since no Cast takes such a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from autocast_core.operators import element_type, is_tensor, ports_of


def uncastable_groups(ids: Mapping[str, ir.Node]) -> list[tuple[str, frozenset[str], bool]]:
    """Groups of node ids joined by values that no Cast takes: (a value's name, the ids, whether a graph I/O is one)."""
    parents: dict[object, object] = {}

    def root(item: object) -> object:
        while parents.setdefault(item, item) is not item:
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    values: list[ir.Value] = []
    for node_id, node in ids.items():
        for value in _uncastable(node):
            values.append(value)
            parents[root(value)] = root(node_id)
    members: dict[object, set[str]] = {}
    for node_id in ids:
        if node_id in parents:
            members.setdefault(root(node_id), set()).add(node_id)
    names: dict[object, str] = {}
    at_border: set[object] = set()
    for value in values:
        names.setdefault(root(value), value.name or "")
        if value.is_graph_input() or value.is_graph_output():
            at_border.add(root(value))
    return [(names[key], frozenset(group), key in at_border) for key, group in members.items()]


def _uncastable(node: ir.Node) -> Iterable[ir.Value]:
    ports = ports_of(node)
    inner = [part for port in ports for part in (port.inner_input, *port.inner_outputs)] if ports else ()
    for value in (*node.inputs, *node.outputs, *inner):
        if value is not None and not is_tensor(value) and element_type(value) == ir.DataType.FLOAT:
            yield value
