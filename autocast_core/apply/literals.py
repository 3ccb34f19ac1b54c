"""Initializers and Constants: stored in the type that their readers request, once for each type that is needed."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.apply.casts import SUFFIX
from autocast_core.apply.uses import Uses
from autocast_core.graph.constants import node_tensor
from autocast_core.graph.names import UnusedNames
from autocast_core.graph.walk import all_graphs
from autocast_core.model.tensors import ConvertedTensor
from autocast_core.number_formats import LOW_DTYPES

TWICE_BYTES = 1024
"""Bytes of an FP32 literal up to which it may be stored in 16 bits as well; engines fold the Cast of a larger one."""


def store_literals(
    model: ir.Model, nodes: list[ir.Node], uses: Uses, names: UnusedNames, max_bytes: int | None
) -> dict[tuple[ir.Value, ir.DataType], ir.Value]:
    """Store each FP32 literal in the type its readers request, and once more for each further low type.

    Returns the copies by (literal, type). A literal of more than `max_bytes` bytes stays FP32, to be cast at run time;
    so do one of more than TWICE_BYTES that is read in FP32 too, and one that Casts of the source round to different
    types.
    """
    copies: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
    for value, tensor in list(float_literals(model, nodes)):
        if max_bytes is not None and tensor.nbytes > max_bytes:
            continue
        low = [dtype for dtype in uses.required_types(value) if dtype in LOW_DTYPES]
        others = uses.requested_beside(value, low)
        own = others[0] if len(others) == 1 else ir.DataType.FLOAT if others or not low else low[0]
        if own == ir.DataType.FLOAT and tensor.nbytes > TWICE_BYTES:
            continue
        for dtype in low:
            if dtype != own:
                name = names.fresh(f"{value.name}_{SUFFIX[dtype]}")
                copies[value, dtype] = _copy(value, convert_tensor(tensor, dtype, name), name)
        if own in LOW_DTYPES:
            store(value, convert_tensor(tensor, own, value.name or ""))
    return copies


def float_literals(model: ir.Model, nodes: list[ir.Node]) -> list[tuple[ir.Value, ir.TensorProtocol]]:
    """FP32 initializers that are not graph inputs, and outputs of FP32 Constants, in graph order."""
    found = []
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype == ir.DataType.FLOAT and not value.is_graph_input():
                found.append((value, tensor))
    for node in nodes:
        tensor = node_tensor(node)
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT:
            found.append((node.outputs[0], tensor))
    return found


def convert_tensor(tensor: ir.TensorProtocol, dtype: ir.DataType, name: str) -> ConvertedTensor:
    """The tensor as `dtype`, converted when it is read; the policy for values out of range is ConvertedTensor's."""
    return ConvertedTensor(tensor, dtype, name=name)


def store(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Let an initializer or a Constant hold `tensor`."""
    producer = value.producer()
    if producer is None:
        value.const_value = tensor
    else:
        for name in ("value_float", "value_floats"):
            producer.attributes.pop(name, None)
        producer.attributes["value"] = ir.AttrTensor("value", tensor)
        value.const_value = None
    value.type = ir.TensorType(tensor.dtype)


def _copy(value: ir.Value, tensor: ir.TensorProtocol, name: str) -> ir.Value:
    producer = value.producer()
    if producer is None:
        twin = ir.Value(name=name, shape=value.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        assert value.graph is not None
        value.graph.register_initializer(twin)
        return twin
    constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)], num_outputs=1, name=name)
    twin = constant.outputs[0]
    twin.name, twin.shape, twin.type = name, value.shape, ir.TensorType(tensor.dtype)
    assert producer.graph is not None
    producer.graph.insert_after(producer, constant)
    return twin
