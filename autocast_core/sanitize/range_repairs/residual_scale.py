"""Repair `residual_scale`: a stream of sums that leaves the range is carried in smaller numbers.

In a residual network the sums x + f(norm(x)) of T5, Gemma and Qwen-VL reach 10^4 to 10^6, while all that reads them is
normalised, so that their scale means nothing. The repair carries 2^-k x: what is added to the stream is multiplied by
2^-k, the epsilons of the norms by 2^-2k. In FP32 every result has the same bits, unless something becomes subnormal.

- A stream begins at an Add or Sub of two computed tensors whose result is over the limit, and takes in all sums behind
  it. A summand over the limit itself is scaled as early as its chain of additions of constants, products with constants
  and layout goes back, up to the operand of its MatMul, Gemm or Conv; biases are scaled along, weights are not touched.
- k is the smallest that brings every sum of the stream within the limit.
- Norms may be operators or decomposed: whatever takes the scale away. Other readers get the values scaled back.
- Does not act where no norm ends the stream, where more readers need the values scaled back than norms end it, where a
  value of the stream is a graph output or is read in a body, or where k would exceed MOST_HALVINGS.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import is_in
from autocast_core.sanitize.change import Change
from autocast_core.sanitize.range_repairs.degrees import KEEPS_DEGREE, SUMS, Degrees, Edge, is_scalable_product
from autocast_core.sanitize.range_repairs.scaling import Magnitude, Scaling, is_scalable

STEP = "residual_scale"
MOST_HALVINGS = 12
"""Of more halvings FP16 would lose what is small in the stream: 2^-12 of a number of 1 has 12 bits left over 2^-24."""
_PRODUCTS = frozenset({"Mul", "Div"})
_EPSILON = 1e-5
"""ONNX's default of every norm."""


def find_residual_scales(model: ir.Model, magnitude: Magnitude, limit: float) -> Iterator[Change]:
    """The streams of the main graph to scale; `Change.nodes` and `operands` are the edges, `exponent` is -k."""
    nodes = list(model.graph)
    if not any(_is_seed(node, magnitude, limit) for node in nodes):
        return
    finder = _Finder(magnitude, limit)
    for node in nodes:
        finder.visit(node)
    for stream in finder.streams():
        halvings = math.ceil(math.log2(stream.peak / limit))
        if not stream.is_worth_it() or halvings > MOST_HALVINGS:
            continue
        detail = (
            f"the sums from {stream.first!r} to {stream.last!r}, which reach {stream.peak:.6g}, are carried times"
            f" 2^-{halvings}; {len(stream.ends)} normalisations take that away"
        )
        names = tuple(str(node.name) for node, _ in stream.edges)
        yield Change(STEP, detail, names, tuple(index for _, index in stream.edges), -halvings)


def scale_stream(model: ir.Model, edges: list[Edge], exponent: int, scaling: Scaling) -> None:
    """Multiply `edges` by 2^exponent, and everything behind them by what keeps the model's results."""
    degrees = Degrees(edges)
    for node in model.graph:
        degrees.visit(node)
    for node, index in edges:
        scaling.scale_edge(node, index, 2.0**exponent, share=2.0**exponent)
    for (node, index), degree in degrees.constants.items():
        scaling.scale_constant(node, index, 2.0 ** (exponent * degree))
    for node, degree in degrees.epsilons.items():
        epsilon = np.float32(node.attributes.get_float("epsilon", _EPSILON)) * np.float32(4.0 ** (exponent * degree))
        node.attributes["epsilon"] = ir.AttrFloat32("epsilon", float(epsilon))
    for (node, index), degree in degrees.exits.items():
        scaling.scale_edge(node, index, 2.0 ** (-exponent * degree), share=1.0)
    for value, degree in degrees.of.items():
        scaling.note(value, value, 2.0 ** (exponent * degree))


def _is_seed(node: ir.Node, magnitude: Magnitude, limit: float) -> bool:
    if not is_in(node, SUMS) or any(constant_tensor(value) is not None for value in node.inputs):
        return False
    largest = magnitude(node.outputs[0])
    return largest is not None and limit < largest < math.inf


@dataclass
class _Stream:
    """What belongs together: edges that are scaled, and what that leads to."""

    edges: list[Edge] = field(default_factory=list)
    ends: list[ir.Node] = field(default_factory=list)
    exits: set[ir.Value] = field(default_factory=set)
    is_seen: bool = False
    peak: float = 0.0
    first: str = ""
    last: str = ""

    def is_worth_it(self) -> bool:
        return self.peak > 0 and not self.is_seen and 0 < len(self.ends) >= len(self.exits)


class _Finder:
    """Finds the edges to scale, node by node in the order of the graph."""

    def __init__(self, magnitude: Magnitude, limit: float) -> None:
        self._magnitude, self._limit = magnitude, limit
        self._degrees = Degrees()
        self._over: list[ir.Node] = []
        self._together: dict[ir.Node, ir.Node] = {}

    def visit(self, node: ir.Node) -> None:
        if is_in(node, SUMS) and node.outputs[0].dtype == ir.DataType.FLOAT:
            seed = _is_seed(node, self._magnitude, self._limit)
            degrees = self._degrees.at(node)
            if (seed and set(degrees) <= {0, 1}) or set(degrees) == {0, 1}:
                for index, degree in enumerate(degrees):
                    if not degree and constant_tensor(node.inputs[index]) is None:
                        self._scale(node, index)
            if seed:
                self._over.append(node)
        self._visit(node)

    def streams(self) -> Iterator[_Stream]:
        """The streams, in the order of their first edges."""
        found: dict[ir.Node, _Stream] = {}

        def of(node: ir.Node) -> _Stream:
            return found.setdefault(self._root(node), _Stream())

        degrees = self._degrees
        for edge in degrees.edges:
            of(edge[0]).edges.append(edge)
        for node in degrees.ends:
            of(node).ends.append(node)
        for node, index in degrees.exits:
            value = node.inputs[index]
            assert value is not None
            of(node).exits.add(value)
        for value in degrees.of:
            maker = value.producer()
            assert maker is not None
            inside = all(reader.graph is maker.graph for reader, _ in value.uses())
            of(maker).is_seen |= value.is_graph_output() or not inside
        for node in self._over:
            stream = of(node)
            stream.peak = max(stream.peak, self._magnitude(node.outputs[0]) or 0.0)
            stream.first, stream.last = stream.first or str(node.name), str(node.name)
        yield from found.values()

    def _scale(self, node: ir.Node, index: int) -> None:
        """Scale an edge, or what leads to it: as early as the numbers on the way are over the limit."""
        edge, chain = (node, index), list[ir.Node]()
        while (earlier := self._earlier(edge)) is not None:
            edge = earlier
            chain.append(edge[0])
            if is_scalable_product(edge[0]):
                break
        self._degrees.edges[edge] = None
        for each in reversed(chain):
            self._visit(each)

    def _earlier(self, edge: Edge) -> Edge | None:
        """The edge in front of the node that makes what `edge` reads, where scaling that does the same."""
        value = edge[0].inputs[edge[1]]
        node = value.producer() if value is not None else None
        if value is None or node is None or node.graph is not edge[0].graph or any(self._degrees.at(node)):
            return None
        largest = self._magnitude(value)
        if largest is None or largest <= self._limit or len(tuple(value.uses())) != 1 or value.is_graph_output():
            return None
        if is_in(node, KEEPS_DEGREE) or is_scalable_product(node):
            return (node, 0) if value.dtype == ir.DataType.FLOAT and value is node.outputs[0] else None
        if is_in(node, SUMS):
            free = [index for index, each in enumerate(node.inputs) if not is_scalable(each)]
        elif is_in(node, _PRODUCTS):
            free = [index for index, each in enumerate(node.inputs) if constant_tensor(each) is None]
        else:
            return None
        return (node, free[0]) if len(free) == 1 and (node.op_type != "Div" or free[0] == 0) else None

    def _visit(self, node: ir.Node) -> None:
        """Visit, and note with which nodes this one shares a scale."""
        if not any(self._degrees.at(node)):
            return
        self._degrees.visit(node)
        for value in node.inputs:
            if value is not None and self._degrees.of.get(value) and (maker := value.producer()) is not None:
                self._together[self._root(maker)] = self._root(node)

    def _root(self, node: ir.Node) -> ir.Node:
        while (parent := self._together.get(node, node)) is not node:
            self._together[node] = self._together.get(parent, parent)
            node = parent
        return node
