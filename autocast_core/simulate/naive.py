"""The yardstick: an FP32 model with everything rounded that may be rounded."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.simulate.roundtrip import RoundTrips


def round_everything(model: ir.Model, policy: OperandPolicy, precision: Precision) -> ir.Model:
    """A new model, in FP32, that rounds every float input, weight and node output to `precision` that the
    `policy` allows to be of that type, bodies included: what a conversion costs that keeps nothing in FP32.

    Rounding is IEEE's (to nearest even, to infinity beyond the range), nothing is clamped or repaired. Weights are
    shared, rounded when they are read.
    """
    copy = model.clone()
    trips = RoundTrips(copy)
    for graph in list(all_graphs(copy.graph)):
        nodes = list(graph)
        operands = {node: float_operands(node, policy, precision) for node in all_nodes(graph)}
        for value in (*graph.inputs, *graph.initializers.values()):
            if isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.FLOAT:
                uses = [(node, i) for node, i in value.uses() if node in operands and operands[node].inputs[i]]
                if uses:
                    trips.at_start(graph, value, precision.dtype, uses)
        for node in nodes:
            for value, moved in zip(tuple(node.outputs), operands[node].outputs, strict=True):
                if moved and value.name and isinstance(value.type, ir.TensorType):
                    trips.behind(node, value, precision.dtype)
    return copy
