"""Names in a graph: which are used, unused ones, renaming a value."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

import onnx
import onnx_ir as ir

from autocast_core.graph.walk import all_graphs, all_nodes


class UnusedNames:
    """Hands out names that are not yet used; the same requests in the same order give the same names."""

    def __init__(self, used: Iterable[str | None]) -> None:
        self._used = {name for name in used if name}
        self._tries: Counter[str] = Counter()

    def claim(self, name: str) -> bool:
        """Mark `name` as used; False where it was used already."""
        if name in self._used:
            return False
        self._used.add(name)
        return True

    def fresh(self, base: str) -> str:
        """`base` if it is free, else the first free one of ``base_1``, ``base_2``, …; constant time on average."""
        name = base
        while not self.claim(name):
            self._tries[base] += 1
            name = f"{base}_{self._tries[base]}"
        return name

    def numbered(self, prefix: str) -> Iterator[str]:
        """``PREFIX.0``, ``PREFIX.1``, … without those that are used."""
        return (name for number in count() if self.claim(name := f"{prefix}.{number}"))


def unused_names(graph: ir.Graph) -> UnusedNames:
    """The names that no node and no value of the graph or of its bodies has."""
    used: set[str | None] = set()
    for each in all_graphs(graph):
        used.update(value.name for value in (*each.inputs, *each.initializers.values()))
        for node in each:
            used.add(node.name)
            for value in node.outputs:
                used.add(value.name)
    return UnusedNames(used)


def value_names(model: ir.Model) -> Iterator[str | None]:
    """The name of every value of the main graph and all bodies."""
    for graph in all_graphs(model.graph):
        yield from (value.name for value in defined_values(graph))


def node_names(model: ir.Model) -> Iterator[str | None]:
    """The name of every node of the main graph and all bodies."""
    return (node.name for node in all_nodes(model.graph))


def defined_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """The values a graph itself defines, each once: inputs, initializers that are not inputs, node outputs."""
    inputs = list(graph.inputs)
    yield from inputs
    seen = {id(value) for value in inputs}
    yield from (value for value in graph.initializers.values() if id(value) not in seen)
    for node in graph:
        yield from node.outputs


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """The inputs of a graph and what its nodes make, by name: not its initializers, and nothing of its bodies."""
    return {str(v.name): v for values in (graph.inputs, *(n.outputs for n in graph)) for v in values if v.name}


def is_unmade(value: ir.Value) -> bool:
    """Whether nothing gives `value`: no node, no caller, no initializer."""
    return value.producer() is None and not value.is_graph_input() and not value.is_initializer()


def rename(value: ir.Value, name: str) -> None:
    """Rename a value; its tensor, which the caller's model may share, is copied (its data is not)."""
    if value.const_value is not None:
        value.const_value = _same_tensor_under_another_name(value.const_value)
    value.name = name


def _same_tensor_under_another_name(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        proto = onnx.TensorProto()
        proto.CopyFrom(tensor.raw)
        return ir.serde.TensorProtoTensor(proto)
    return copy.copy(tensor)
