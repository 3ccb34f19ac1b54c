"""Every tensor of a model, wherever it is kept, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.walk import all_graphs, bodies

Change = Callable[[ir.TensorProtocol], ir.TensorProtocol]
_TENSOR, _TENSORS = ir.AttributeType.TENSOR, ir.AttributeType.TENSORS
_GRAPH, _GRAPHS = ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS


@dataclass(frozen=True)
class Place:
    """Where one tensor is kept: an initializer's value, or an attribute of a node (`index` in a list of tensors)."""

    owner: ir.Value | ir.Node
    tensor: ir.TensorProtocol
    attribute: str = ""
    index: int | None = None

    def put(self, tensor: ir.TensorProtocol) -> None:
        """Keep `tensor` here instead."""
        if isinstance(self.owner, ir.Value):
            self.owner.const_value = tensor
            return
        before = self.owner.attributes[self.attribute]
        if self.index is None:
            after = ir.AttrTensor(before.name, tensor, doc_string=before.doc_string)
        else:
            listed = list(before.value)
            listed[self.index] = tensor
            after = ir.AttrTensors(before.name, listed, doc_string=before.doc_string)
        self.owner.attributes[self.attribute] = after


def places(model: ir.Model) -> Iterator[Place]:
    """All places of tensors: per graph its initializers, then its nodes with their bodies; functions last."""
    yield from _graph_places(model.graph)
    for function in model.functions.values():
        yield from _node_places(function)


def all_tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """All tensors in the order of `places`."""
    return (place.tensor for place in places(model))


def map_tensors(model: ir.Model, change: Change) -> tuple[Place, ...]:
    """Put `change(tensor)` in the place of every tensor; returns the places, as they were, of those that changed.

    Where `change` raises, nothing has changed.
    """
    changed = [(place, tensor) for place in places(model) if (tensor := change(place.tensor)) is not place.tensor]
    for place, tensor in changed:
        place.put(tensor)
    return tuple(place for place, _ in changed)


def node_lists(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """The main graph, all bodies, the functions and their bodies."""
    yield from all_graphs(model.graph)
    for function in model.functions.values():
        yield function
        for node in function:
            for _, body in bodies(node):
                yield from all_graphs(body)


def _graph_places(graph: ir.Graph) -> Iterator[Place]:
    for value in graph.initializers.values():
        if value.const_value is not None:
            yield Place(value, value.const_value)
    yield from _node_places(graph)


def _node_places(owner: ir.Graph | ir.Function) -> Iterator[Place]:
    for node in owner:
        if not node.attributes:
            continue
        for name, attribute in node.attributes.items():
            kind = attribute.type
            if kind not in (_TENSOR, _TENSORS, _GRAPH, _GRAPHS) or attribute.is_ref():
                continue
            if kind == _TENSOR:
                yield Place(node, attribute.value, name)
            elif kind == _TENSORS:
                yield from (Place(node, tensor, name, index) for index, tensor in enumerate(attribute.value))
            else:
                for body in (attribute.value,) if kind == _GRAPH else attribute.value:
                    yield from _graph_places(body)
