"""The values that are constant in a graph, and how large they are."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

SMALL_TENSOR_BYTES = 4096
"""Tensors up to this size may be read by a pass; larger ones stay on disk unless their values are the question."""

_TENSOR_ATTRIBUTES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "value": np.dtype(np.float32),
        "value_float": np.dtype(np.float32),
        "value_floats": np.dtype(np.float32),
        "value_int": np.dtype(np.int64),
        "value_ints": np.dtype(np.int64),
    }
)
"""Attributes of Constant (ONNX, from version 12), and the type of their elements where they are not a tensor's."""


def stored_bytes(tensor: ir.TensorProtocol) -> int:
    """As `tensor.nbytes`, of an array without working out its shape anew; of elements below a byte at least that."""
    raw = tensor.raw if type(tensor) is ir.Tensor else None
    return raw.nbytes if isinstance(raw, np.ndarray) else tensor.nbytes


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor a value always holds: of an initializer that no caller can override, or of a Constant node."""
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    return None if node is None else node_tensor(node)


def node_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """The dense tensor of numbers that a Constant holds, whichever attribute has it; its name is left as it is.

    None for any other node, for strings and sparse tensors, and for a value that refers to a function's attribute.
    """
    if node.op_type != "Constant" or node.domain != "":
        return None
    for name, dtype in _TENSOR_ATTRIBUTES.items():
        attribute = node.attributes.get(name)
        if attribute is None or attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            tensor: ir.TensorProtocol = attribute.value  # as_tensor() checks a runtime protocol, dearer than the rest
            return tensor
        return ir.tensor(np.array(attribute.value, dtype), name=node.outputs[0].name)
    return None


def small_array(value: ir.Value | None) -> np.ndarray | None:
    """The constant's elements where it is at most SMALL_TENSOR_BYTES, else None."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING or stored_bytes(tensor) > SMALL_TENSOR_BYTES:
        return None
    return tensor.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The one number a constant holds, whatever its rank; None for anything else."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.size != 1:
        return None
    return float(tensor.numpy().reshape(-1)[0])


def drop_if_unread(value: ir.Value) -> None:
    """Remove the initializer or Constant `value` where nothing reads it and no caller can give it."""
    if value.uses() or value.is_graph_output() or value.is_graph_input():
        return
    node, graph = value.producer(), value.graph
    if node is not None and node.op_type == "Constant" and node.graph is not None:
        node.graph.remove(node, safe=True)
    elif node is None and isinstance(graph, ir.Graph):
        graph.initializers.pop(str(value.name), None)
