"""How much a rounding of a value weighs at the outputs, by the sizes of numbers that calibration saw.

Rounding to 16 bits changes a number by one relative error, whatever its size, so a value's weight is by how much its
relative error, squared, comes through: a sum takes it in the ratio of mean squares, a Concat in that of elements,
products and norms take it whole, Softmax and Exp take the absolute error. Weights of paths add up. It is the
first-order analysis of independent errors (Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 3) on
whole tensors. The errors of constants are not independent: a norm's gain is wrong by the same at every place, so no
reduction averages its error out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.fusion.node_kinds import NodeKind, node_kind, only_moves
from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import READS_NO_ELEMENTS, is_in

MeanSquare = Callable[[ir.Value], float | None]
"""The mean of a value's squares; None where it is not known."""

_SUMS = frozenset({"Add", "Mean", "Sub", "Sum"})
_ABSOLUTE = frozenset({"Exp", "LogSoftmax", "Softmax"})
_ADDS_A_BIAS = frozenset(
    {"BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GroupNormalization", "InstanceNormalization"}
    | {"LayerNormalization"}
)
_BIAS = 2
"""The index of their input that is added."""
_FACTORS: Mapping[str, float] = {"Sqrt": 0.25, "Pow": 4.0}
_AVERAGED = 0.01
"""What is left of independent errors in a reduction."""
_LARGEST = 64.0
"""No operator is taken to multiply a squared relative error by more: single tensors would decide everything."""

_MOST_READ = 1 << 18
"""Elements of constants that are read."""

Edge = tuple[ir.Node, int]
"""A node and the index of the input that it reads."""


@dataclass(frozen=True)
class ValueSizes:
    """What is known of values: their mean squares, and how many elements they have (0: not known)."""

    mean_square: MeanSquare
    elements: Callable[[ir.Value], int] = lambda _: 0


def sensitivities(
    nodes: Sequence[ir.Node], sizes: ValueSizes, *, averaged: float = _AVERAGED
) -> tuple[dict[ir.Value, float], dict[Edge, float]]:
    """The weight of each value that `nodes` (in graph order) make or read, and of each of their inputs; a reduction
    leaves the share `averaged` of a squared error."""
    values: dict[ir.Value, float] = {}
    edges: dict[Edge, float] = {}
    for node in reversed(nodes):
        weight = sum(values.get(output, 0.0) + output.is_graph_output() for output in node.outputs if output.name)
        for index, value in enumerate(node.inputs):
            if value is None or not weight or is_in(node, READS_NO_ELEMENTS):
                continue
            edges[node, index] = passed = weight * _passed(node, index, value, sizes, averaged)
            values[value] = values.get(value, 0.0) + passed
    for node in nodes:
        for output in node.outputs:
            if output.is_graph_output():
                values[output] = values.get(output, 0.0) + 1.0
    return values, edges


def constant_weights(nodes: Sequence[ir.Node], sizes: ValueSizes, low: Precision) -> dict[ir.Node, float]:
    """By node the weight of rounding the constants that it reads to `low`; nothing for those that it holds exactly.

    Constants of more than _MOST_READ elements, and weights of products, are not read; their roundings count whole.
    """
    read = {
        value: tensor.numpy()
        for node in nodes
        if node_kind(node) is not NodeKind.PRODUCT
        for value in node.inputs
        if (tensor := _float_constant(value)) is not None and tensor.size <= _MOST_READ
    }
    squares = {value: float(np.mean(np.square(numbers))) for value, numbers in read.items() if numbers.size}
    with np.errstate(over="ignore"):
        exact = {value for value, numbers in read.items() if (numbers == numbers.astype(low.numpy)).all()}
    known = replace(sizes, mean_square=lambda value: squares.get(value, sizes.mean_square(value)))
    _, edges = sensitivities(nodes, known, averaged=1.0)
    found: dict[ir.Node, float] = {}
    for (node, index), weight in edges.items():
        value = node.inputs[index]
        if value not in exact and _float_constant(value) is not None:
            found[node] = found.get(node, 0.0) + weight
    return found


def _float_constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    tensor = constant_tensor(value)
    return tensor if tensor is not None and tensor.dtype == ir.DataType.FLOAT else None


def _passed(node: ir.Node, index: int, value: ir.Value, sizes: ValueSizes, averaged: float) -> float:
    """The part of a squared relative error of `value`, an input of the node, that the node's result takes."""
    if node.op_type in _SUMS or (index == _BIAS and node.op_type in _ADDS_A_BIAS):
        before, after = sizes.mean_square(value), sizes.mean_square(node.outputs[0])
        return 1.0 if before is None or not after else min(before / after, _LARGEST)
    if node.op_type == "Concat":
        part, whole = sizes.elements(value), sizes.elements(node.outputs[0])
        return part / whole if part and whole else 1.0 / len(node.inputs)
    if node.op_type in _ABSOLUTE:
        size = _unmasked(value, sizes.mean_square)
        return 1.0 if size is None else min(size, _LARGEST)
    if node_kind(node) is NodeKind.REDUCTION and node.op_type.startswith("Reduce"):
        return averaged
    return _FACTORS.get(node.op_type, 1.0)


def _unmasked(value: ir.Value, mean_square: MeanSquare) -> float | None:
    """The mean square without masks: where it is large, that of the smallest of the summands that are not 0.

    Where a mask of large numbers was added, what it masks becomes 0 and its rounding makes no difference.
    """
    found, node = mean_square(value), value.producer()
    if found is None or found <= _LARGEST or node is None:
        return found
    if only_moves(node) and node.inputs[0] is not None:
        return _unmasked(node.inputs[0], mean_square)
    if node.op_type not in _SUMS:
        return found
    summands = (_unmasked(each, mean_square) for each in node.inputs if each is not None)
    return min((each for each in summands if each), default=found)
