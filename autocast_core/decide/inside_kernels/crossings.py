"""What FP32 nodes gain, and what they make cross between kernels in FP32.

A value in FP32 is not rounded for readers in FP32, nor are constants that they read: gains and biases count. Where such
a reader stands in another kernel, the value crosses in FP32: it is written in four bytes an element in place of two, in
both types where a 16-bit reader is left, and read in four by each such kernel. So does a 16-bit value that no product
makes, since engines cast it where it is made, unless all such readers normalize or reduce: these cast it themselves.
Inside a kernel it costs nothing. Views and movements between both are taken to go along.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.decide.inside_kernels.sensitivity import MeanSquare, ValueSizes, constant_weights, sensitivities
from autocast_core.engine.view import EngineView
from autocast_core.fusion import NodeKind, node_kind
from autocast_core.fusion.node_kinds import only_moves
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.operators import element_type
from autocast_core.operators.families import READS_NO_ELEMENTS, is_in

_WIDENED = 2
"""Bytes an element that FP32 takes more."""


@dataclass(frozen=True)
class Reading:
    """A node that computes from another's result: whether in another kernel, the weight of a rounding between, and
    whether it normalizes or reduces, and so casts what it reads itself."""

    reader: str
    kernels: tuple[int, ...]
    crosses: bool
    weight: float
    reduces: bool = False


@dataclass(frozen=True)
class Made:
    """The result of a node: elements, whether a product makes it, and who reads it."""

    elements: int
    by_product: bool
    readings: tuple[Reading, ...]
    goes_out: bool


@dataclass
class Crossings:
    """The results of nodes that compute, by node id; `constants` has elements of constants that a node reads, `rounded`
    the weight of their roundings, and `producers` the ids of the nodes whose results it reads."""

    made: dict[str, Made] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    rounded: dict[str, float] = field(default_factory=dict)
    producers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    noise: float = 0.0
    """The weights of all roundings with every node low."""

    def gain(self, node: str, wide: Collection[str]) -> float:
        """The weight of the roundings that go with `node` in FP32 beside those of `wide`."""
        readings = self.made[node].readings if node in self.made else ()
        found = self.rounded.get(node, 0.0) + sum(each.weight for each in readings if each.reader in wide)
        for producer in self.producers.get(node, ()):
            if producer in wide:
                found += sum(each.weight for each in self.made[producer].readings if each.reader == node)
        return found

    def bytes_of(self, node: str, wide: Collection[str]) -> int:
        """The bytes that cross more, with `wide` in FP32, for what `node` makes and for the constants that it reads."""
        made = self.made.get(node)
        found = _WIDENED * self.constants.get(node, 0) if node in wide else 0
        if made is None:
            return found
        low = node not in wide
        outside = {
            each.kernels
            for each in made.readings
            if each.crosses and each.reader in wide and not (low and each.reduces)
        }
        if not outside or (low and made.by_product):
            return found
        both = made.goes_out or any(each.reader not in wide for each in made.readings if each.crosses)
        return found + made.elements * (_WIDENED * (len(outside) + 1) + (2 if both else 0))

    def bytes_beside(self, fixed: Collection[str], wide: Collection[str]) -> int:
        """The bytes that cross more with `wide` in FP32 than with `fixed` alone."""
        nodes = {*self.made, *self.constants}
        return sum(self.bytes_of(each, wide) - self.bytes_of(each, fixed) for each in nodes)


def crossings_of(
    ids: Mapping[str, ir.Node],
    view: EngineView,
    shapes: Mapping[str, tuple[int, ...]],
    mean_square: MeanSquare,
    low: Precision,
) -> Crossings:
    """The crossings of the nodes `ids` (by id, in graph order) in the kernels of `view`, where `low` is the 16-bit
    type."""
    by_node = {node: node_id for node_id, node in ids.items()}
    kernels = _kernels_of(view)
    sizes = ValueSizes(mean_square, lambda value: _elements(value, shapes))
    values, edges = sensitivities([*by_node], sizes)
    found = Crossings()
    for node, weight in constant_weights([*by_node], sizes, low).items():
        found.rounded[by_node[node]] = weight
        found.noise += weight
    for node_id, node in ids.items():
        found.constants[node_id] = sum(_elements(value, shapes) for value in node.inputs if _is_constant(value))
        if only_moves(node) or not node.outputs or not _is_float(node.outputs[0]):
            continue
        output, own = node.outputs[0], kernels.get(node_id, ())
        readings: list[Reading] = []
        for reader, index in _readers(output):
            other = by_node.get(reader)
            if other is not None:
                place = kernels.get(other, ())
                crosses = bool(own) and not set(place) & set(own)
                weight, reduces = edges.get((reader, index), 0.0), node_kind(reader) is NodeKind.REDUCTION
                readings.append(Reading(other, place or (-len(readings) - 1,), crosses, weight, reduces))
                found.producers[other].add(node_id)
        by_product = node_kind(node) is NodeKind.PRODUCT
        found.made[node_id] = Made(_elements(output, shapes), by_product, tuple(readings), _goes_out(output))
        found.noise += values.get(output, 0.0) * (2 if by_product else 1)
    return found


def cast_ends(model: ir.Model) -> dict[str, set[str]]:
    """By id of each Cast of the main graph, the ids of the nodes that compute what it casts or compute from it."""
    by_node = {node: node_id for node_id, node in nodes_with_ids(model.graph)}
    found: dict[str, set[str]] = {}
    for node in model.graph:
        if node.op_type == "Cast" and node.domain == "":
            ends = [_source(node), *(reader for reader, _ in _readers(node.outputs[0]))]
            found[by_node[node]] = {by_node[each] for each in ends if each in by_node}
    return found


def _source(node: ir.Node | None) -> ir.Node | None:
    """The node that computes what `node` moves, directly or by others that only move elements."""
    while node is not None and only_moves(node):
        node = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return node


def _kernels_of(view: EngineView) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = defaultdict(list)
    for number, kernel in enumerate(view.kernels):
        for node in kernel.nodes:
            found[node].append(number)
    return {node: tuple(numbers) for node, numbers in found.items()}


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """The nodes that compute from the value, directly or through what only moves elements."""
    for node, index in value.uses():
        if only_moves(node):
            for output in node.outputs:
                yield from _readers(output)
        elif not is_in(node, READS_NO_ELEMENTS):
            yield node, index


def _goes_out(value: ir.Value) -> bool:
    return value.is_graph_output() or any(
        _goes_out(output) for node, _ in value.uses() if only_moves(node) for output in node.outputs
    )


def _is_float(value: ir.Value) -> bool:
    return element_type(value) == ir.DataType.FLOAT


def _is_constant(value: ir.Value | None) -> bool:
    return value is not None and _is_float(value) and constant_tensor(value) is not None


def _elements(value: ir.Value | None, shapes: Mapping[str, tuple[int, ...]]) -> int:
    tensor = constant_tensor(value)
    if tensor is not None:
        return tensor.size
    shape = shapes.get(str(value.name)) if value is not None else None
    return 0 if shape is None else prod(shape)


def moved_along(ids: Iterable[tuple[str, ir.Node]], wide: Collection[str]) -> set[str]:
    """The nodes that only move elements from a node of `wide` to another: they go in FP32 too."""
    pairs = list(ids)
    by_node = {node: node_id for node_id, node in pairs}
    made: set[str] = set(wide)
    for node_id, node in pairs:
        if only_moves(node) and node.inputs and node.inputs[0] is not None:
            producers = (value.producer() for value in node.inputs if value is not None and _is_float(value))
            if any(by_node.get(each, "") in made for each in producers if each is not None):
                made.add(node_id)
    read: set[str] = set(wide)
    for node_id, node in reversed(pairs):
        if node_id in made and only_moves(node):
            users = (by_node.get(user, "") for output in node.outputs for user, _ in output.uses())
            if any(each in read for each in users):
                read.add(node_id)
    return read - set(wide)
