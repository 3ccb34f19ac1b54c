"""Cutting a graph into parts of about equal weight.

A part, a *segment*, is a model of its own. It reads inputs of the graph and *boundary tensors*, which segments before
it make. Only nodes of the main graph are distributed: a body goes with its node and is never cut. What follows from
weights alone, such as a weight cast to another type, goes with each of its readers and is never a boundary tensor.
Weights are shared with the model, which is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.backends.onnxruntime.random_numbers import RANDOM_OPERATORS
from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.constants import node_tensor, stored_bytes
from autocast_core.graph.walk import all_graphs, bodies, outer_reads

_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Segment:
    """One part: `reads` are its inputs and `makes` its outputs, by name, in the order of `model`."""

    model: ir.Model
    reads: tuple[str, ...]
    makes: tuple[str, ...]


def cut_graph(model: ir.Model, parts: int) -> tuple[Segment, ...]:
    """`model` as at most `parts` segments, in the order in which they can run; run so, they make all its outputs.

    Each weight counts where it is read first on the longest way from the inputs, and goes into the segment in whose
    share of all bytes its middle lies. A node stands in the first segment that has its weights and that no segment with
    one of its inputs comes after. So what reads no weight follows at once upon what it reads, and as little as can be
    crosses a boundary.
    """
    places = _places(model.graph, parts)
    made_in = {value: place for node, place in places.items() for value in node.outputs}
    outputs = dict.fromkeys(model.graph.outputs)
    crossing = {
        value: None
        for node, place in places.items()
        for value in outer_reads(node)
        if value in made_in and made_in[value] != place
    }
    segments = []
    for part in range(parts):
        mine = [node for node, place in places.items() if place == part]
        makes = {v: None for node in mine for v in node.outputs if v.name and (v in crossing or v in outputs)}
        reads = {
            value: None
            for node in mine
            for value in outer_reads(node)
            if value.is_graph_input() or made_in.get(value, part) != part
        }
        if part == 0:  # inputs and weights that are outputs
            makes |= {value: None for value in outputs if value not in made_in}
            reads |= {value: None for value in outputs if value.is_graph_input()}
        if makes:
            segments.append(_segment(model, reads, makes))
    return tuple(segments)


def weight_bytes(model: ir.Model) -> int:
    """The bytes of all that `cut_graph` counts as weights."""
    initializers = sum(
        stored_bytes(value.const_value)
        for graph in all_graphs(model.graph)
        for value in graph.initializers.values()
        if value.const_value is not None
    )
    constants = (tensor for node in model.graph if (tensor := node_tensor(node)) is not None)
    return initializers + sum(map(stored_bytes, constants))


def derived_bytes(model: ir.Model) -> int:
    """The bytes, in FP32, of what nodes make of weights alone that read a weight themselves, such as casts."""
    return sum(
        value.const_value.size * _FLOAT_BYTES
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and any(node.graph is model.graph and _is_derived(node) for node, _ in value.uses())
    )


def _is_derived(node: ir.Node) -> bool:
    return all(value.const_value is not None and not value.is_graph_input() for value in outer_reads(node))


def _segment(model: ir.Model, reads: Iterable[ir.Value], makes: Iterable[ir.Value]) -> Segment:
    graph = ir.convenience.extract(model.graph, list(reads), list(makes))
    part = ir.Model(graph, ir_version=model.ir_version, functions=tuple(model.functions.values()))
    return Segment(part, _names(graph.inputs), _names(graph.outputs))


def _places(graph: ir.Graph, parts: int) -> dict[ir.Node, int]:
    """The segment of every node that follows from inputs of the graph, and of those others that make its outputs."""
    fixed = _fixed(graph)
    carried = _carried_weights(graph, fixed)
    levels = _levels(graph)
    ends: dict[object, int] = {}
    total = 0
    # Not in the order of the graph, at whose end stands what was added to measure its tensors.
    for node in sorted(graph, key=levels.__getitem__):
        if node not in fixed:
            for key, size in carried[node].items():
                if key not in ends:
                    total += size
                    ends[key] = total - size // 2
    places: dict[ir.Node, int] = {}
    for node in graph:
        if node in fixed and not any(value.is_graph_output() for value in node.outputs):
            continue
        weights = (min(parts - 1, ends[key] * parts // max(total, 1)) for key in carried[node] if key in ends)
        sources = (value.producer() for value in outer_reads(node))
        places[node] = max((*weights, *(places[each] for each in sources if each in places)), default=0)
    return places


def _levels(graph: ir.Graph) -> Mapping[ir.Node, int]:
    """By node how many nodes at most lead to it, one after the other."""
    found: dict[ir.Node, int] = {}
    for node in graph:
        sources = (value.producer() for value in outer_reads(node))
        found[node] = max((found[each] + 1 for each in sources if each is not None), default=0)
    return found


def _fixed(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that give the same in every run: they read weights alone and draw no random numbers."""
    found: set[ir.Node] = set()
    for node in graph:
        draws = any(each.op_type in RANDOM_OPERATORS for each in (node, *_inner_nodes(node)))
        if not draws and all(
            not value.is_graph_input() and (value.producer() is None or value.producer() in found)
            for value in outer_reads(node)
        ):
            found.add(node)
    return found


def _carried_weights(graph: ir.Graph, fixed: Set[ir.Node]) -> Mapping[ir.Node, Mapping[object, int]]:
    """The bytes of the weights, by what identifies them, that each node and what is `fixed` before it read."""
    found: dict[ir.Node, Mapping[object, int]] = {}
    for node in graph:
        own: dict[object, int] = {}
        tensor = node_tensor(node)
        if tensor is not None:
            own[node] = stored_bytes(tensor)
        for value in outer_reads(node):
            producer = value.producer()
            if producer is not None and producer in fixed:
                own |= found[producer]
            elif value.const_value is not None:
                own[value] = stored_bytes(value.const_value)
        if raw_attributes(node):
            own |= {
                value: stored_bytes(value.const_value)
                for _, body in bodies(node)
                for inner in all_graphs(body)
                for value in inner.initializers.values()
                if value.const_value is not None
            }
        found[node] = own
    return found


def _inner_nodes(node: ir.Node) -> Iterable[ir.Node]:
    if not raw_attributes(node):
        return ()
    return (inner for _, body in bodies(node) for graph in all_graphs(body) for inner in graph)


def _names(values: Iterable[ir.Value]) -> tuple[str, ...]:
    return tuple(str(value.name) for value in values)
