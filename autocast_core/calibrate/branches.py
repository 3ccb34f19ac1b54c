"""Small tensors in the branches of Ifs, handed out of them as they are.

Statistics computed in a body cost some twenty nodes a tensor (see exact_probes.py). A branch runs at most once in a run
of the main graph, so a tensor of at most WHOLE_ELEMENTS elements in it costs less as a further output of its If: one
row where the branch ran, an empty one where the other one did. Tensors in Ifs that stand in Ifs are handed on; those in
Loops, Scans and SequenceMaps are not, as their bodies run again and again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.temporary_nodes import TemporaryNodes
from autocast_core.graph.walk import bodies

WHOLE_ELEMENTS = 4096
"""The largest tensor that is an output of a run as it is."""


def small_in_branches(graph: ir.Graph) -> frozenset[ir.Value]:
    """The FP32 tensors of at most WHOLE_ELEMENTS elements that nodes make in branches below the Ifs of `graph`."""
    return frozenset(_small_below(graph))


def handed_out(writer: TemporaryNodes, wanted: Collection[ir.Value]) -> dict[ir.Value, ir.Value]:
    """For each of `wanted`, tensors in branches: the value in `writer`'s graph that is it, as one row, or empty."""
    found: dict[ir.Value, ir.Value] = {}
    for node in writer.graph if wanted else ():
        if _is_if(node):
            found |= _of_if(node, writer, wanted)
    return found


def _of_if(node: ir.Node, outer: TemporaryNodes, wanted: Collection[ir.Value]) -> dict[ir.Value, ir.Value]:
    writers = [outer.inner(body) for _, body in bodies(node)]
    own = [_of_branch(writer, wanted) for writer in writers]
    values = [value for branch in own for value in branch]
    if not values:
        return {}
    for writer, made in zip(writers, own, strict=True):
        # A constant each: one value cannot be two outputs.
        outputs = [made.get(value) or writer("Constant", value=np.zeros((1, 0), np.float32)) for value in values]
        writer.commit()
        writer.add_outputs(map(_row, outputs))
    results = outer.add_node_outputs(node, len(values), len(writers[0].graph.outputs))
    return {value: _row(result) for value, result in zip(values, results, strict=True)}


def _of_branch(writer: TemporaryNodes, wanted: Collection[ir.Value]) -> dict[ir.Value, ir.Value]:
    own = [value for node in writer.graph for value in node.outputs if value in wanted]
    # Flatten, unlike Reshape, needs no Constant for its shape.
    rows = {value: writer("Flatten", value, axis=0) for value in own}
    return rows | handed_out(writer, wanted)


def _small_below(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        if _is_if(node):
            for _, body in bodies(node):
                yield from (
                    value for each in body if each.op_type != "Constant" for value in each.outputs if _is_small(value)
                )
                yield from _small_below(body)


def _is_if(node: ir.Node) -> bool:
    return node.op_type == "If" and not node.domain


def _is_small(value: ir.Value) -> bool:
    if not value.name or not isinstance(value.type, ir.TensorType) or value.dtype != ir.DataType.FLOAT:
        return False
    return value.shape is not None and value.shape.is_static() and math.prod(value.shape.numpy()) <= WHOLE_ELEMENTS


def _row(value: ir.Value) -> ir.Value:
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([1, None])
    return value
