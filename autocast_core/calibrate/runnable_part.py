"""The part of a model that runs without its custom operators, which no runtime here knows.

It is everything that does not depend on what they make; with their outputs as inputs, it is everything but them. What
custom operators make is measured only where someone gives it: from random numbers in its place nothing would follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.walk import all_nodes, bodies
from autocast_core.operators.signature import find_signature


@dataclass(frozen=True)
class RunnablePart:
    """`model` is the part, with every value that it computes as an output; `missing` are nodes of the whole that are
    not in it, and `given` the outputs of custom operators that are its inputs."""

    model: ir.Model
    missing: tuple[ir.Node, ...]
    given: tuple[str, ...]


def custom_nodes(model: ir.Model) -> list[ir.Node]:
    """The nodes of the main graph whose operator neither ONNX nor ONNX Runtime describes, or that hold such a node."""
    opsets = model.opset_imports
    return [
        node
        for node in model.graph
        if any(
            find_signature(each.domain, each.op_type, opsets.get(each.domain, 1)) is None
            for each in (node, *_inner_nodes(node))
        )
    ]


def runnable_part(model: ir.Model, custom: list[ir.Node], *, given: bool) -> RunnablePart | None:
    """The part of `model` without its nodes `custom`; None where it would be empty.

    With `given`, what they make and others read is an input of the part. Weights are shared.
    """
    blocked: set[ir.Value] = set()
    missing: list[ir.Node] = []
    made: list[ir.Value] = []
    outside = set(custom)
    for node in model.graph:
        if node in outside or any(value in blocked for value in _read_values(node)):
            missing.append(node)
            if node not in outside or not given:
                blocked.update(node.outputs)
        elif node.op_type != "Constant" or node.domain:
            made += [value for value in node.outputs if value.name]
    fed = [value for node in custom for value in node.outputs if given and value.uses()]
    if not made:
        return None
    graph = ir.convenience.extract(model.graph, [*model.graph.inputs, *fed], made)
    return RunnablePart(
        ir.Model(graph, ir_version=model.ir_version), tuple(missing), tuple(str(value.name) for value in fed)
    )


def _inner_nodes(node: ir.Node) -> list[ir.Node]:
    if not raw_attributes(node):
        return []
    return [inner for _, body in bodies(node) for inner in all_nodes(body)]


def _read_values(node: ir.Node) -> list[ir.Value]:
    """What the node and its bodies read."""
    return [value for each in (node, *_inner_nodes(node)) for value in each.inputs if value is not None]
