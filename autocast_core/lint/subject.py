"""The model that is looked at, with what several checks ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir

from autocast_core.attention import AttentionCore, attention_cores
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import all_graphs, bodies, nodes_with_ids
from autocast_core.number_formats import FLOAT_DTYPES, LOW_DTYPES
from autocast_core.operators.families import CONSTANTS, MOVES_ELEMENTS, is_in

CASTS = frozenset({"Cast", "CastLike"})


@dataclass(frozen=True)
class Subject:
    """A model, and the FP32 model that it was made from where that is given. Nothing is changed."""

    model: ir.Model
    reference: ir.Model | None = None

    @cached_property
    def ids(self) -> Mapping[ir.Node, str]:
        """The id of every node, bodies included, in the order of the graph."""
        return {node: node_id for node_id, node in nodes_with_ids(self.model.graph)}

    @cached_property
    def holders(self) -> Mapping[ir.Graph, ir.Node]:
        """The node that holds each body, outer ones first."""
        return {body: node for node in self.ids for _, body in bodies(node)}

    @cached_property
    def cores(self) -> tuple[AttentionCore, ...]:
        """The attention cores of the model."""
        return attention_cores(self.model.graph)

    @cached_property
    def is_mixed(self) -> bool:
        """Whether any node makes values of a 16-bit type."""
        return any(value.dtype in LOW_DTYPES for node in self.ids for value in node.outputs)

    @cached_property
    def constants(self) -> tuple[ir.Value, ...]:
        """The float constants: initializers that no caller overrides, and Constant nodes, bodies included."""
        return tuple(value for value in self._constants() if value.dtype in FLOAT_DTYPES)

    def _constants(self) -> Iterator[ir.Value]:
        for graph in all_graphs(self.model.graph):
            yield from (value for value in graph.initializers.values() if constant_tensor(value) is not None)
        yield from (node.outputs[0] for node in self.ids if node.op_type == "Constant" and node.domain == "")


def size_in_bytes(value: ir.Value | None) -> int | None:
    """The bytes of a value; None where its shape or type is not known before it runs."""
    if value is None or value.shape is None or value.dtype is None:
        return None
    elements = 1
    for size in value.shape:
        if not isinstance(size, int):
            return None
        elements *= size
    return -(-elements * value.dtype.bitwidth // 8)


def total(sizes: Iterator[int | None]) -> int | None:
    """The sum; None where one is not known."""
    found = 0
    for size in sizes:
        if size is None:
            return None
        found += size
    return found


def elements_of(value: ir.Value | None, through: frozenset[str] = MOVES_ELEMENTS) -> ir.TensorProtocol | None:
    """The constant tensor whose elements, and no others, `value` holds: its own, one that operators of `through` hand
    on, or that of a ConstantOfShape (of one element). None where the elements are computed."""
    while value is not None:
        tensor = constant_tensor(value)
        node = value.producer()
        if tensor is not None or node is None:
            return tensor
        if is_in(node, CONSTANTS):
            return _filling(node)
        value = node.inputs[0] if is_in(node, through) and node.inputs else None
    return None


def _filling(node: ir.Node) -> ir.TensorProtocol | None:
    """The element that a ConstantOfShape repeats; None for another constant, which has strings or is sparse."""
    if node.op_type != "ConstantOfShape":
        return None
    given = node.attributes.get("value")
    return ir.tensor([0.0]) if given is None else given.as_tensor()


def is_cast(node: ir.Node | None) -> bool:
    """Whether the node converts element types and does nothing else."""
    return node is not None and is_in(node, CASTS) and bool(node.inputs) and bool(node.outputs)


def type_word(dtype: ir.DataType | None) -> str:
    """How messages name an element type."""
    words = {ir.DataType.DOUBLE: "FP64", ir.DataType.FLOAT: "FP32"}
    words |= {ir.DataType.FLOAT16: "FP16", ir.DataType.BFLOAT16: "BF16"}
    return words.get(dtype, str(dtype)) if dtype is not None else "an unknown type"


def float_type(node: ir.Node) -> ir.DataType | None:
    """The floating-point type that a node computes in: of its first operand or result that has one."""
    types = (value.dtype for value in (*node.inputs, *node.outputs) if value is not None)
    return next((dtype for dtype in types if dtype in FLOAT_DTYPES), None)
