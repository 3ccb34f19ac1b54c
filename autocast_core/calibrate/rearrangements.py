"""Tensors that hold the elements of another one in another order or shape, and so have its statistics."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.operators.families import REARRANGES, is_in


def rearrangements(graph: ir.Graph) -> dict[ir.Value, ir.Value]:
    """By tensor of the main graph that only rearranges another one: that one, which rearranges none.

    The other one is an input of the graph or an output of a node. Float tensors alone count.
    """
    found: dict[ir.Value, ir.Value] = {}
    for node in graph:
        source = node.inputs[0] if is_in(node, REARRANGES) else None
        if source is None or not isinstance(source.type, ir.TensorType):
            continue
        if source.producer() is not None or source.is_graph_input():
            found[node.outputs[0]] = found.get(source, source)
    return found


def with_rearranged(graph: ir.Graph, stats: Mapping[str, TensorStats]) -> dict[str, TensorStats]:
    """`stats` by name of the tensors of `graph`, and the same for the tensors that rearrange them, in graph order."""
    seen = {str(view.name): str(source.name) for view, source in rearrangements(graph).items()}
    names = [str(value.name) for node in graph for value in node.outputs]
    known = {name: stats[source] for name in names if (source := seen.get(name, name)) in stats}
    return known | {name: each for name, each in stats.items() if name not in known}
