"""The Casts of the source model, which a conversion keeps where they do something and removes where they do not.

- A Cast that changes nothing, undoes a widening one or repeats another is read past (`merge_source_casts`).
- A reader that requests the 16-bit type from which a Cast widened reads the value before it (`elide_widening_casts`).
- A Cast to FP32 whose readers all request one low type makes that type instead (`retarget_casts`).
- What remains counts as a version of its input, so that it is not made twice (`remove_redundant_casts`).
- What lost all its readers goes (`remove_unread_casts`).

A Cast that makes an output of its graph stays where nothing else can be that output.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.apply.casts import CastIdentity, Casts, cast_identity, may_be_output, narrow_source
from autocast_core.apply.retype import retype
from autocast_core.apply.uses import GraphOutput, NodeInput, Uses, cast_target
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES
from autocast_core.operators import element_type, is_tensor


def merge_source_casts(casts: list[ir.Node], original: Mapping[ir.Value, ir.DataType | None]) -> list[ir.Node]:
    """Let readers of a Cast that changes nothing, undoes a widening one or repeats one read the other value.

    `original` has the element types of the source model. Returns the Casts that are left.
    """
    seen: dict[CastIdentity, ir.Value] = {}
    left = []
    for node in casts:
        to = cast_target(node)
        source = node.inputs[0] if to in PRECISION_DTYPES else None
        other = None
        if source is not None:
            widened = narrow_source(source)
            same = next((value for value in (source, widened) if value is not None and original.get(value) == to), None)
            other = same if same is not None else _earlier(node, seen)
        if other is not None:
            _redirect(node.outputs[0], other)
        if other is None or node.outputs[0].is_graph_output():
            left.append(node)
        else:
            _remove(node)
    return left


def _earlier(cast: ir.Node, seen: dict[CastIdentity, ir.Value]) -> ir.Value | None:
    """The output of a Cast before `cast` that does the same, None for the first, which is noted in `seen`."""
    identity = cast_identity(cast)
    earlier = cast.outputs[0] if identity is None else seen.setdefault(identity, cast.outputs[0])
    return None if earlier is cast.outputs[0] else earlier


def elide_widening_casts(casts: list[ir.Node], uses: Uses) -> None:
    """Let readers that require the 16-bit type which a value had before a Cast made it FP32 read the value before."""
    for node in casts:
        output = node.outputs[0] if cast_target(node) == ir.DataType.FLOAT else None
        source = narrow_source(output) if output is not None else None
        if output is None or source is None:
            continue
        for use in list(uses.by_value.get(output, ())):
            may = not isinstance(use.place, GraphOutput) or may_be_output(source, use.place.graph)
            if use.required and use.requested == element_type(source) and may:
                use.place.write(source)
                uses.move(output, use, source)


def retarget_casts(casts: list[ir.Node], uses: Uses) -> None:
    """Let a Cast to FP32 whose readers all request one low type make that type, and request it of its own input."""
    for node in reversed(casts):
        if node.graph is None or cast_target(node) != ir.DataType.FLOAT:
            continue
        output = node.outputs[0]
        requested = uses.requested_types(output)
        if len(requested) == 1 and requested[0] in LOW_DTYPES and is_tensor(output):
            node.attributes["to"] = ir.AttrInt64("to", int(requested[0]))
            retype(output, requested[0])
            uses.change_request(node.inputs[0], NodeInput(node, 0), requested[0])


def remove_redundant_casts(source_casts: list[ir.Node], casts: Casts) -> None:
    """Remove Casts that now change nothing or repeat another; the others are versions of their inputs."""
    for node in source_casts:
        source = node.inputs[0] if cast_target(node) in PRECISION_DTYPES else None
        if node.graph is None or source is None:
            continue
        other = source if element_type(source) == cast_target(node) else casts.register(node)
        if other is not None and _let_stand_in(other, node.outputs[0]):
            _remove(node)


def remove_unread_casts(casts: list[ir.Node], uses: Uses) -> None:
    """Remove Casts that had readers and lost them all."""
    for node in reversed(casts):
        if node.graph is None or cast_target(node) not in PRECISION_DTYPES:
            continue
        output = node.outputs[0]
        if output in uses.by_value and not output.uses() and not output.is_graph_output():
            _remove(node)


def _let_stand_in(source: ir.Value, output: ir.Value) -> bool:
    """Let nodes read `source` instead of `output`, and its graph hand it out where it may; whether nothing is left."""
    _redirect(output, source)
    if not output.is_graph_output():
        return True
    graph = output.graph
    assert graph is not None
    if not may_be_output(source, graph):
        return False
    for index, value in enumerate(graph.outputs):
        if value is output:
            graph.outputs[index] = source
    return True


def _redirect(value: ir.Value, other: ir.Value) -> None:
    """Let the nodes that read `value` read `other`."""
    for node, index in list(value.uses()):
        node.replace_input_with(index, other)


def _remove(node: ir.Node) -> None:
    assert node.graph is not None
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)
    node.graph.remove(node)
