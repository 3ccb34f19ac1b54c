"""Putting a Cast to 16 bits and back behind a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from autocast_core.graph.names import unused_names
from autocast_core.graph.new_nodes import new_node


class RoundTrips:
    """Adds Casts to the graphs of one model, under names that it does not have yet."""

    def __init__(self, model: ir.Model) -> None:
        self.names = unused_names(model.graph).numbered("simulated")

    def cast(self, value: ir.Value, dtype: ir.DataType, name: str | None = None) -> ir.Node:
        """A node, in no graph yet, that casts `value`; its output has the shape of `value`."""
        node = new_node("Cast", [value], {"to": int(dtype)}, next(self.names))
        node.outputs[0].name = name or node.name
        node.outputs[0].type = ir.TensorType(dtype)
        node.outputs[0].shape = value.shape
        return node

    def there_and_back(self, value: ir.Value, dtype: ir.DataType, name: str | None = None) -> list[ir.Node]:
        """Casts of `value` to `dtype` and back to FP32; only the second where `value` has that type already."""
        if value.dtype == dtype:
            return [self.cast(value, ir.DataType.FLOAT, name)]
        down = self.cast(value, dtype)
        return [down, self.cast(down.outputs[0], ir.DataType.FLOAT, name)]

    def behind(self, node: ir.Node, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Let everything that reads `value`, an output of `node`, read it rounded to `dtype`, under the old name."""
        name = value.name
        value.name = next(self.names)
        casts = self.there_and_back(value, dtype, name)
        rounded = casts[-1].outputs[0]
        _graph_of(node).insert_after(node, casts)
        replace_uses(value, rounded, except_by=casts[0])
        outputs = _graph_of(node).outputs
        for index, output in enumerate(outputs):
            if output is value:
                outputs[index] = rounded
        return rounded

    def at_start(
        self, graph: ir.Graph, value: ir.Value, dtype: ir.DataType, uses: Iterable[tuple[ir.Node, int]]
    ) -> ir.Value:
        """Let `uses` of `value`, an input or initializer of `graph`, read it rounded to `dtype`."""
        casts = self.there_and_back(value, dtype)
        for node, index in list(uses):
            node.replace_input_with(index, casts[-1].outputs[0])
        put_first(graph, casts)
        return casts[-1].outputs[0]


def put_first(graph: ir.Graph, nodes: Sequence[ir.Node]) -> None:
    """Insert `nodes` before all others."""
    first = next(iter(graph), None)
    if first is None:
        graph.extend(nodes)
    else:
        graph.insert_before(first, nodes)


def replace_uses(value: ir.Value, by: ir.Value, except_by: ir.Node) -> None:
    """Let all nodes but `except_by` read another value; graph outputs stay."""
    for node, index in list(value.uses()):
        if node is not except_by:
            node.replace_input_with(index, by)


def _graph_of(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph), f"{node.name} is in no graph"
    return node.graph
