"""The values that are constant in a graph."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from autocast_core.model.tensors import stored_bytes

SMALL_TENSOR_BYTES = 4096
"""Tensors up to this size may be read by a pass; larger ones stay on disk unless their values are the question."""


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor a value always holds: of an initializer that no caller can override, or of a Constant node."""
    if value is None or value.is_graph_input():
        return None
    if value.const_value is not None:
        return value.const_value
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain != "":
        return None
    attribute = node.attributes.get("value")
    if attribute is None or attribute.is_ref() or attribute.type != ir.AttributeType.TENSOR:
        return None
    return attribute.as_tensor()


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
