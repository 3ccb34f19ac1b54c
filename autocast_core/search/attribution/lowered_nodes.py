"""Which values the nodes that a plan lowers read and make rounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.walk import bodies, nodes_with_ids
from autocast_core.operators import OperandPolicy, float_operands


@dataclass(frozen=True)
class LoweredNodes:
    """The nodes whose ids are in `low`, with their precisions; `ids` has those of all nodes, `policy` says which of
    their operands move."""

    ids: Mapping[ir.Node, str]
    low: Mapping[str, Precision]
    policy: OperandPolicy

    def __contains__(self, node: ir.Node) -> bool:
        return self.ids.get(node) in self.low

    def precision(self, node: ir.Node) -> Precision:
        """What `node`, which is lowered, computes in."""
        return self.low[self.ids[node]]

    def rounds_input(self, node: ir.Node, index: int) -> bool:
        """Whether `node` reads this input rounded."""
        return node in self and float_operands(node, self.policy, self.precision(node)).inputs[index]

    def rounded_inputs(self, node: ir.Node) -> dict[ir.Value, Precision]:
        """The values that `node`, or what its bodies hold, reads rounded, and to what."""
        found: dict[ir.Value, Precision] = {}
        for each in (node, *inner_nodes(node)):
            if each in self:
                precision = self.precision(each)
                moves = float_operands(each, self.policy, precision).inputs
                for value, moved in zip(each.inputs, moves, strict=True):
                    if moved and value is not None:
                        found.setdefault(value, precision)
        return found

    def rounded_outputs(self, node: ir.Node) -> list[int]:
        """The indices of the outputs that `node` makes rounded."""
        if node not in self:
            return []
        moves = float_operands(node, self.policy, self.precision(node)).outputs
        return [index for index, moved in enumerate(moves) if moved]


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of `node` and what its bodies read from outside."""
    yield from (value for value in node.inputs if value is not None)
    inner = inner_nodes(node)
    if inner:
        made = {value for each in inner for value in each.outputs}
        for graph in (body for each in (node, *inner) for _, body in bodies(each)):
            made.update((*graph.inputs, *graph.initializers.values()))
        yield from (v for each in inner for v in each.inputs if v is not None and v not in made)


def inner_nodes(node: ir.Node) -> list[ir.Node]:
    """The nodes of the bodies of `node`, of any depth."""
    return [each for _, body in bodies(node) for _, each in nodes_with_ids(body)]
