"""The digest of a graph's structure: what a precision plan speaks of, whatever the precision and the weights.

A converted model has the digest of the model it was made from. So Casts to float types belong to the edge they stand on
(one may repeat another), float types are all alike, literals (initializers, Constants) count by what they look like and
not by where they are kept, and of all names only those of the inputs and outputs count. Output shapes follow from the
rest and do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.model.traverse import node_lists
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.operators.families import TYPE_ATTRIBUTES

_COMPARED_ELEMENTS = 64
"""Integer literals with at most so many elements (axes, shapes, pads) count with their values."""


def structure_digest(model: ir.Model) -> str:
    """sha256 (hex) over operators, attributes, edges, input shapes, literal shapes, and input and output names."""
    numbers = _Numbers(model)
    digest = hashlib.sha256()
    for line in _lines(model, numbers):
        digest.update(repr(line).encode() + b"\n")
    return digest.hexdigest()


class _Numbers:
    """The number of each node that counts, and of each graph with formal inputs, in the order of the model."""

    def __init__(self, model: ir.Model) -> None:
        self.nodes: dict[ir.Node, int] = {}
        self.inputs: dict[ir.Value, tuple[int, int]] = {}
        for number, owner in enumerate(node_lists(model)):
            self.inputs.update((value, (number, index)) for index, value in enumerate(owner.inputs))
            for node in owner:
                if _counts(node):
                    self.nodes[node] = len(self.nodes)

    def source(self, value: ir.Value | None) -> Any:
        """What an edge comes from: a node's output, a formal input or a literal, made a float by a Cast or not."""
        while value is not None and (node := value.producer()) is not None:
            if node in self.nodes:
                return ("node", self.nodes[node], value.index())
            if not _is_cast_to_float(node):
                return _constant(node)
            value = node.inputs[0]
            if not _is_float(value):
                return ("to float", self.source(value))
        if value is None:
            return None
        return ("input", *self.inputs[value]) if value in self.inputs else _literal(value.const_value)


def _lines(model: ir.Model, numbers: _Numbers) -> Iterator[Any]:
    for owner in node_lists(model):
        if owner is model.graph:
            yield "inputs", [(value.name, _type(value), _dims(value.shape)) for value in owner.inputs]
            yield "output names", [value.name for value in owner.outputs]
        elif isinstance(owner, ir.Function):
            yield "function", owner.domain, owner.name, owner.overload
        else:
            yield "body", len(owner.inputs)
        for node in owner:
            if node in numbers.nodes:
                yield _node(node, numbers)
        yield "outputs", [numbers.source(value) for value in owner.outputs]


def _node(node: ir.Node, numbers: _Numbers) -> Any:
    inputs = [numbers.source(value) for value in node.inputs]
    while inputs and inputs[-1] is None:
        inputs.pop()
    attributes = sorted(
        (name, content)
        for name, attribute in raw_attributes(node).items()
        if (content := _attribute(node, attribute)) is not None
    )
    return (node.op_type, _domain(node), node.overload, inputs, attributes, len(node.outputs))


def _counts(node: ir.Node) -> bool:
    return not _is_cast_to_float(node) and not (node.op_type == "Constant" and _domain(node) == "")


def _is_cast_to_float(node: ir.Node) -> bool:
    if node.op_type != "Cast" or _domain(node) or len(node.inputs) != 1 or node.inputs[0] is None:
        return False
    target = node.attributes.get("to")
    return target is not None and not target.is_ref() and target.value in FLOAT_DTYPES


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and isinstance(value.type, ir.TensorType) and value.dtype in FLOAT_DTYPES


def _domain(node: ir.Node) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def _attribute(node: ir.Node, attribute: ir.Attr) -> str | None:
    """What counts of an attribute, or None."""
    if attribute.is_ref():
        return f"reference {attribute.ref_attr_name}"
    kind, value = attribute.type, attribute.value
    if kind == ir.AttributeType.INT and attribute.name in TYPE_ATTRIBUTES and value in FLOAT_DTYPES:
        return None
    if kind in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return f"{1 if kind == ir.AttributeType.GRAPH else len(value)} bodies"  # their content follows in its place
    if kind == ir.AttributeType.TENSOR:
        if node.op_type == "ConstantOfShape" and value.dtype in FLOAT_DTYPES:
            return None
        return repr(_literal(value))
    if kind == ir.AttributeType.TENSORS:
        return repr([_literal(tensor) for tensor in value])
    if kind == ir.AttributeType.TYPE_PROTO:
        return repr(_type_name(value.type))
    if kind == ir.AttributeType.TYPE_PROTOS:
        return repr([_type_name(item.type) for item in value])
    return repr(tuple(value) if isinstance(value, list | tuple) else value)


def _constant(node: ir.Node) -> Any:
    """A Constant node as the literal that it is."""
    for name, attribute in node.attributes.items():
        value = attribute.value
        if name == "value":
            return _literal(value)
        if name == "value_float":
            return ("literal", "float", [])
        if name == "value_floats":
            return ("literal", "float", [len(value)])
        if name == "value_int":
            return ("literal", "INT64", [], [value])
        if name == "value_ints":
            return ("literal", "INT64", [len(value)], list(value)[:_COMPARED_ELEMENTS])
        return ("literal", name, repr(value))
    return ("literal", "nothing")


def _literal(tensor: ir.TensorProtocol | None) -> Any:
    if tensor is None:
        return ("literal", "unknown")
    shape = list(tensor.shape)
    if tensor.dtype in FLOAT_DTYPES:
        return ("literal", "float", shape)
    if tensor.dtype.is_integer() and tensor.size <= _COMPARED_ELEMENTS:
        return ("literal", tensor.dtype.name, shape, tensor.numpy().reshape(-1).tolist())
    return ("literal", tensor.dtype.name, shape)


def _type(value: ir.Value) -> str:
    return _type_name(value.type)


def _type_name(type_: ir.TypeProtocol | None) -> str:
    if type_ is None:
        return "unknown"
    if isinstance(type_, ir.TensorType | ir.SparseTensorType):
        element = "float" if type_.dtype in FLOAT_DTYPES else type_.dtype.name
        return f"{type(type_).__name__}({element})"
    return f"{type(type_).__name__}({_type_name(type_.elem_type)})"  # type: ignore[arg-type]


def _dims(shape: ir.Shape | None) -> Any:
    return None if shape is None else [dim if isinstance(dim, int) else "?" for dim in shape]
