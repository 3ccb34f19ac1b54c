"""Keys by which what is computed twice is found: value numbering (Cocke, Schwartz, Programming Languages and Their
Compilers, 1970). Weights of over 4 KB are compared by where they are stored, not read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import onnx_ir as ir

from autocast_core.graph.walk import bodies
from autocast_core.model.tensors import ConvertedTensor

_SMALL_BYTES = 4096


def node_key(node: ir.Node, inputs: Sequence[ir.Value | None]) -> Hashable:
    """A key that nodes have in common which compute the same of `inputs`; of a node with bodies its own."""
    if any(True for _ in bodies(node)):
        return id(node)
    attributes = tuple(sorted((name, _attribute_key(attribute)) for name, attribute in node.attributes.items()))
    named = tuple(bool(value.name) for value in node.outputs)
    return node.domain, node.op_type, node.overload, tuple(map(id, inputs)), attributes, named


def _attribute_key(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR:
        return repr(_tensor_key(attribute.value))
    simple = (ir.AttributeType.INT, ir.AttributeType.INTS, ir.AttributeType.FLOAT, ir.AttributeType.FLOATS)
    if attribute.type in (*simple, ir.AttributeType.STRING, ir.AttributeType.STRINGS) and not attribute.is_ref():
        return repr((attribute.type, attribute.value))
    return repr(id(attribute))


def weight_key(value: ir.Value) -> Hashable:
    """A key that constants have in common whose numbers are known to be the same; of another value its own."""
    return id(value) if value.const_value is None else _tensor_key(value.const_value)


def _tensor_key(tensor: ir.TensorProtocol) -> Hashable:
    kind = (tensor.dtype, tuple(tensor.shape))
    if isinstance(tensor, ir.ExternalTensor):
        return (*kind, str(tensor.path), tensor.offset, tensor.length)
    if isinstance(tensor, ConvertedTensor):
        return (*kind, "converted", _tensor_key(tensor.source))
    if tensor.dtype is not ir.DataType.STRING and tensor.nbytes <= _SMALL_BYTES:
        return (*kind, tensor.tobytes())
    return (*kind, id(tensor))
