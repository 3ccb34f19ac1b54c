"""How much a rounding of a value weighs at the outputs, by the sizes of numbers that calibration saw.

Rounding to 16 bits changes a number by one relative error, whatever its size, so a value's weight is by how much its
relative error, squared, comes through: a sum takes it in the ratio of mean squares, products and norms take it whole,
Softmax and Exp take the absolute error. Weights of paths add up. It is the first-order analysis of independent errors
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 3) on whole tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx_ir as ir

from autocast_core.fusion.node_kinds import NodeKind, node_kind, only_moves
from autocast_core.operators.families import READS_NO_ELEMENTS, is_in

MeanSquare = Callable[[ir.Value], float | None]
"""The mean of a value's squares; None where it is not known."""

_SUMS = frozenset({"Add", "Mean", "Sub", "Sum"})
_ABSOLUTE = frozenset({"Exp", "LogSoftmax", "Softmax"})
_FACTORS: Mapping[str, float] = {"Sqrt": 0.25, "Pow": 4.0}
_AVERAGED = 0.01
"""What is left of independent errors in a reduction."""
_LARGEST = 64.0
"""No operator is taken to multiply a squared relative error by more: single tensors would decide everything."""

Edge = tuple[ir.Node, int]
"""A node and the index of the input that it reads."""


def sensitivities(nodes: Iterable[ir.Node], mean_square: MeanSquare) -> tuple[dict[ir.Value, float], dict[Edge, float]]:
    """The weight of each value that `nodes` (in graph order) make or read, and of each of their inputs."""
    values: dict[ir.Value, float] = {}
    edges: dict[Edge, float] = {}
    for node in reversed(list(nodes)):
        weight = sum(values.get(output, 0.0) + output.is_graph_output() for output in node.outputs if output.name)
        for index, value in enumerate(node.inputs):
            if value is None or not weight or is_in(node, READS_NO_ELEMENTS):
                continue
            edges[node, index] = passed = weight * _passed(node, value, mean_square)
            values[value] = values.get(value, 0.0) + passed
    for node in nodes:
        for output in node.outputs:
            if output.is_graph_output():
                values[output] = values.get(output, 0.0) + 1.0
    return values, edges


def _passed(node: ir.Node, value: ir.Value, mean_square: MeanSquare) -> float:
    """The part of a squared relative error of `value` that the node's result takes."""
    if node.op_type in _SUMS:
        before, after = mean_square(value), mean_square(node.outputs[0])
        return 1.0 if before is None or not after else min(before / after, _LARGEST)
    if node.op_type in _ABSOLUTE:
        before = _unmasked(value, mean_square)
        return 1.0 if before is None else min(before, _LARGEST)
    if node_kind(node) is NodeKind.REDUCTION and node.op_type.startswith("Reduce"):
        return _AVERAGED
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
