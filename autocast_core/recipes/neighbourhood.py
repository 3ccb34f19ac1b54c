"""What a node reads and what reads it, by operator: how a recipe knows a node again where names differ.

Exporters name nodes in their own ways, but one formula is written with the same operators by most of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

INPUT, OUTPUT, CONSTANT = "input", "output", "constant"
"""Stand for a graph input, a graph output and a weight or constant; operators are written with a capital letter."""


@dataclass(frozen=True)
class Neighbourhood:
    """By operand the operator that makes it (or INPUT, CONSTANT, empty where the operand is left out), and the
    operators that read the node's results (or OUTPUT), in alphabetical order."""

    reads: tuple[str, ...]
    read_by: tuple[str, ...]


def neighbourhood(node: ir.Node) -> Neighbourhood:
    """The neighbourhood of `node` in its graph; trailing operands that are left out do not count."""
    reads = [_maker(value) for value in node.inputs]
    while reads and not reads[-1]:
        reads.pop()
    readers = {user.op_type for value in node.outputs for user, _ in value.uses()}
    readers |= {OUTPUT for value in node.outputs if value.is_graph_output()}
    return Neighbourhood(tuple(reads), tuple(sorted(readers)))


def _maker(value: ir.Value | None) -> str:
    if value is None:
        return ""
    producer = value.producer()
    if producer is not None:
        return CONSTANT if producer.op_type == "Constant" else producer.op_type
    return CONSTANT if value.const_value is not None else INPUT
