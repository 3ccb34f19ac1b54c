"""Adding nodes and outputs to a graph for a while, and taking them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.graph.new_nodes import AttributeValue, new_node

_AXES_AS_INPUT = {"ReduceMax": 18, "ReduceMean": 18, "ReduceSum": 13}
"""From which opset on these take `axes` as an input (ONNX operator changelog)."""


class TemporaryNodes:
    """Appends nodes to a graph; `undo` takes everything back that was done through it."""

    def __init__(self, graph: ir.Graph, names: Iterator[str], opset: int, undo: ExitStack) -> None:
        self.graph, self.opset = graph, opset
        self._names, self._undo = names, undo
        self._nodes: list[ir.Node] = []
        self._made: dict[Any, ir.Value] = {}

    def __call__(self, op_type: str, *inputs: ir.Value, **attributes: AttributeValue) -> ir.Value:
        self._nodes.append(new_node(op_type, inputs, attributes, next(self._names)))
        return self._nodes[-1].outputs[0]

    def constant(self, array: np.ndarray) -> ir.Value:
        return self.once((array.dtype.str, array.shape, array.tobytes()), lambda: self("Constant", value=array))

    def once(self, key: Any, make: Callable[[], ir.Value]) -> ir.Value:
        """What `make` gave when it was first called for `key`."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def joined(self, vectors: Sequence[ir.Value]) -> ir.Value:
        return vectors[0] if len(vectors) == 1 else self("Concat", *vectors, axis=0)

    def reduced(self, op_type: str, value: ir.Value) -> ir.Value:
        """`value` reduced over its first axis."""
        axis = np.array([0])
        if self.opset < _AXES_AS_INPUT[op_type]:
            return self(op_type, value, axes=[0], keepdims=0)
        return self(op_type, value, self.constant(axis), keepdims=0)

    def inner(self, graph: ir.Graph) -> TemporaryNodes:
        """A writer for a body."""
        return TemporaryNodes(graph, self._names, self.opset, self._undo)

    def commit(self) -> None:
        """Put the nodes behind the graph's own, constants first."""
        nodes = self._nodes
        self.graph.extend(nodes)
        self._undo.callback(self.graph.remove, list(reversed(nodes)), safe=False)
        for node in nodes:
            self._undo.callback(_detach, node)

    def add_outputs(self, values: Iterable[ir.Value]) -> None:
        self.set_outputs([*self.graph.outputs, *values])

    def set_outputs(self, values: Iterable[ir.Value]) -> None:
        before = list(self.graph.outputs)
        self.graph.outputs[:] = list(values)
        self._undo.callback(_set_outputs, self.graph, before)

    def add_node_outputs(self, node: ir.Node, count: int, total: int) -> tuple[ir.Value, ...]:
        """Give `node` `count` outputs more, the last of `total`; omitted optional ones are filled in without a name."""
        self._undo.callback(node.resize_outputs, len(node.outputs))
        node.resize_outputs(total)
        added = tuple(node.outputs)[-count:]
        for value in added:
            value.name = next(self._names)
        return added

    def lengthen(self, node: ir.Node, attribute: str, count: int) -> None:
        """Append `count` zeros to a list attribute, if `node` has it."""
        before = node.attributes.get(attribute)
        if before is not None:
            self._undo.callback(node.attributes.__setitem__, attribute, before)
            node.attributes[attribute] = ir.AttrInt64s(attribute, [*before.as_ints(), *[0] * count])


def _detach(node: ir.Node) -> None:
    while node.inputs:  # from the last one, since each is taken away by copying those that are left
        node.resize_inputs(len(node.inputs) - 1)


def _set_outputs(graph: ir.Graph, outputs: list[ir.Value]) -> None:
    graph.outputs[:] = outputs
