"""Small questions about an onnx_ir graph that several passes ask."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.model.paths import all_graphs, all_nodes
from autocast_core.model.tensors import stored_bytes

SMALL_TENSOR_BYTES = 4096
"""Tensors up to this size may be read by a pass; larger ones stay on disk unless their values are the question."""


class Names:
    """Hands out names that are not yet used; the same requests in the same order give the same names."""

    def __init__(self, used: Iterable[str | None]) -> None:
        self._used = {name for name in used if name}
        self._tries: Counter[str] = Counter()

    def claim(self, name: str) -> bool:
        """Marks `name` as used; False where it was used already."""
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


def value_names(model: ir.Model) -> Iterator[str | None]:
    """The name of every value of the main graph and all bodies."""
    for graph in all_graphs(model.graph):
        yield from (value.name for value in defined_values(graph))


def node_names(model: ir.Model) -> Iterator[str | None]:
    """The name of every node of the main graph and all bodies."""
    return (node.name for node in all_nodes(model.graph))


def defined_values(graph: ir.Graph) -> Iterator[ir.Value]:
    """The values a graph itself defines, each once: inputs, initializers that are no inputs, node outputs."""
    inputs = list(graph.inputs)
    yield from inputs
    seen = {id(value) for value in inputs}
    yield from (value for value in graph.initializers.values() if id(value) not in seen)
    for node in graph:
        yield from node.outputs


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


def rename(value: ir.Value, name: str) -> None:
    """Renames a value; its tensor, which the caller's model may share, is copied (its data is not)."""
    if value.const_value is not None:
        value.const_value = _same_tensor_under_another_name(value.const_value)
    value.name = name


def _same_tensor_under_another_name(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        proto = onnx.TensorProto()
        proto.CopyFrom(tensor.raw)
        return ir.serde.TensorProtoTensor(proto)
    return copy.copy(tensor)
