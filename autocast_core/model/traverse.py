"""Every tensor of a model, wherever it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

Change = Callable[[ir.TensorProtocol], ir.TensorProtocol]


def node_lists(model: ir.Model) -> Iterator[ir.Graph | ir.Function]:
    """The main graph, all bodies, the functions and their bodies."""
    yield from model.graphs()
    for function in model.functions.values():
        yield function
        yield from function.subgraphs()


def all_tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """All tensors: per graph its initializers, then those in its nodes' attributes."""

    def seen(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        found.append(tensor)
        return tensor

    found: list[ir.TensorProtocol] = []
    for owner in node_lists(model):
        _map_initializers(owner, seen)
        _map_attributes(owner, seen)
        yield from found
        found.clear()


def map_tensors(model: ir.Model, change: Change) -> None:
    """Put `change(tensor)` in the place of every tensor of `model`, in the order of `all_tensors`."""
    for owner in node_lists(model):
        _map_initializers(owner, change)
        _map_attributes(owner, change)


def _map_initializers(owner: ir.Graph | ir.Function, change: Change) -> None:
    if not isinstance(owner, ir.Graph):
        return
    for value in owner.initializers.values():
        if value.const_value is not None:
            changed = change(value.const_value)
            if changed is not value.const_value:
                value.const_value = changed


def _map_attributes(owner: ir.Graph | ir.Function, change: Change) -> None:
    for node in owner:
        for name, attribute in node.attributes.items():
            if attribute.is_ref() or attribute.type not in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS):
                continue
            several = attribute.type == ir.AttributeType.TENSORS
            before = tuple(attribute.value) if several else (attribute.value,)
            after = tuple(change(tensor) for tensor in before)
            if all(new is old for new, old in zip(after, before, strict=True)):
                continue
            if several:
                node.attributes[name] = ir.AttrTensors(name, after, doc_string=attribute.doc_string)
            else:
                node.attributes[name] = ir.AttrTensor(name, after[0], doc_string=attribute.doc_string)
