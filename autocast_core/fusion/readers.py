"""What makes and what reads a value, seen through views, which cost nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.fusion.node_kinds import NodeKind, node_kind
from autocast_core.operators import element_type


class ValueSource(NamedTuple):
    """Where a reader's operand is stored: the value itself behind all views, `part` as `stored` or one of the pieces
    that a Split made of it, and the element type in which it crosses between kernels."""

    stored: ir.Value
    part: ir.Value
    type: ir.DataType | None


def source_of(value: ir.Value) -> ValueSource:
    """The source of an operand. Of the float types that Casts on the way give it, the narrowest crosses."""
    crossing, piece = element_type(value), None
    while (node := value.producer()) is not None and node_kind(node) is NodeKind.VIEW and node.inputs[0] is not None:
        if node.op_type == "Split" and piece is None:
            piece = value
        value = node.inputs[0]
        crossing = narrower(crossing, element_type(value))
    return ValueSource(value, piece or value, crossing)


def readers_of(value: ir.Value) -> Iterator[ir.Node | None]:
    """The nodes that read the value, directly or through views; None stands for an output of the graph."""
    if value.is_graph_output():
        yield None
    for node, _ in value.uses():
        if node_kind(node) is NodeKind.VIEW:
            for output in node.outputs:
                yield from readers_of(output)
        else:
            yield node


def narrower(first: ir.DataType | None, second: ir.DataType | None) -> ir.DataType | None:
    """The narrower of two float types, `second` where they are not both floats; the other where one is not known."""
    if first is None or second is None:
        return first or second
    if first.is_floating_point() and second.is_floating_point():
        return first if first.itemsize <= second.itemsize else second
    return second
