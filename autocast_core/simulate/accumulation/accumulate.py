"""Which nodes are written out, and how."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import onnx_ir as ir

from autocast_core.attention import attention_cores
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.simulate.accumulation import norms
from autocast_core.simulate.accumulation.sums import convolution, product
from autocast_core.simulate.accumulation.tape import Tape


class Accumulate(enum.StrEnum):
    """What happens inside nodes of 16-bit types: see the package."""

    FP32 = "fp32"
    NATIVE = "native"
    FP16 = "fp16"


_LOWEST_OPSET = 13
"""The first with axes as an input of ReduceSum, and with Softmax along one axis."""
_Write = Callable[[Tape, ir.Node, int, ir.DataType], ir.Value | None]


def _matmul(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    left, right = node.inputs[:2]
    other = None if right is None or right.shape is None else len(right.shape)
    if left is None or right is None or other is None or min(rank, other) < 2:
        return None
    return product(tape, left, right, (rank, other), dtype)


def _gemm(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    turned = [
        tape.op("Transpose", value, attributes={"perm": [1, 0]}) if node.attributes.get_int(name, 0) else value
        for value, name in zip(node.inputs[:2], ("transA", "transB"), strict=True)
    ]
    left, right = turned
    if left is None or right is None:
        return None
    result = product(tape, left, right, (2, 2), dtype)
    alpha, beta = node.attributes.get_float("alpha", 1.0), node.attributes.get_float("beta", 1.0)
    result = result if alpha == 1 else tape.op("Mul", result, tape.number(alpha))
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias = node.inputs[2] if beta == 1 else tape.op("Mul", node.inputs[2], tape.number(beta))
        result = tape.op("Add", result, bias)
    return result


def _conv(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    value, weight = node.inputs[:2]
    if value is None or weight is None or weight.shape is None or node.attributes.get_int("group", 1) != 1:
        return None
    sizes = [size for size in weight.shape if isinstance(size, int)]
    if len(sizes) < len(weight.shape):
        return None
    result = convolution(tape, value, weight, sizes, dict(node.attributes.items()), dtype)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return result
    return tape.op("Add", result, tape.reshaped(bias, tape.ints(1, -1, *[1] * (rank - 2))))


_NATIVE: Mapping[str, _Write] = MappingProxyType(
    {
        "GroupNormalization": norms.group_norm,
        "InstanceNormalization": norms.group_norm,
        "LayerNormalization": norms.layer_norm,
        "LogSoftmax": norms.log_softmax,
        "RMSNormalization": norms.layer_norm,
        **dict.fromkeys(norms.REDUCTIONS, norms.reduction),
    }
)
_FP16: Mapping[str, _Write] = MappingProxyType(
    {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul, "Softmax": norms.softmax}
)


ATTENTION = "attention"
"""Stands among operator types for the products of attention cores."""


def modelled_types(mode: Accumulate) -> frozenset[str]:
    """The operator types that `mode` has anything to say of."""
    if mode is Accumulate.FP32:
        return frozenset()
    return frozenset(_NATIVE) | frozenset(_FP16 if mode is Accumulate.FP16 else ())


def attention_products(graph: ir.Graph) -> frozenset[ir.Node]:
    """The products of the graph's attention cores that are written as several nodes."""
    nodes = dict(nodes_with_ids(graph))
    cores = (core for core in attention_cores(graph) if core.operator is None)
    return frozenset(nodes[product] for core in cores for product in core.products)


def is_modelled(node: ir.Node, dtype: ir.DataType, mode: Accumulate) -> bool:
    """Whether `mode` has anything to say of a node that computes in `dtype`."""
    return _writer(node, dtype, mode) is not None


def _writer(node: ir.Node, dtype: ir.DataType, mode: Accumulate) -> _Write | None:
    if node.domain != "" or mode is Accumulate.FP32 or not node.inputs:
        return None
    products = _FP16 if mode is Accumulate.FP16 and dtype == ir.DataType.FLOAT16 else {}
    return _NATIVE.get(node.op_type) or products.get(node.op_type)


def write_out(node: ir.Node, dtype: ir.DataType, mode: Accumulate, names: Iterator[str], opset: int) -> bool:
    """Put in the place of `node`, which is FP32 now and was `dtype`, nodes that round on their way.

    Its first output keeps its name and is not rounded itself. False, and nothing changed, where `mode` says nothing of
    it, its rank is not known or the opset is older than what is written.
    """
    write, value, graph = _writer(node, dtype, mode), node.inputs[0] if node.inputs else None, node.graph
    if opset < _LOWEST_OPSET or write is None or graph is None:
        return False
    if value is None or value.shape is None or not len(value.shape):
        return False
    tape = Tape(names, opset)
    result = write(tape, node, len(value.shape), dtype)
    if result is None:
        return False
    old = node.outputs[0]
    name, result.type, result.shape = old.name, old.type, old.shape
    graph.insert_before(node, tape.nodes)
    ir.convenience.replace_all_uses_with(old, result)
    if isinstance(graph, ir.Graph):
        for index, output in enumerate(graph.outputs):
            if output is old:
                graph.outputs[index] = result
    graph.remove(node, safe=True)
    result.name = name
    return True
