"""Where a node stands: its path through the bodies that hold it, which is its id in plans and reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_ir as ir

from autocast_core.graph.annotations import is_flat, raw_attributes, set_flat

ROOT = "graph"


def note_flat(model: ir.Model) -> None:
    """Note of the main graph and of each body whether it holds a body. Of a model with local functions nothing is
    noted: they may bring bodies with them when they are inlined."""
    _note_flat(model.graph, known=not model.functions)


def _note_flat(graph: ir.Graph, known: bool) -> None:
    inner = _inner_graphs(graph)
    set_flat(graph, known and not inner)
    for body in inner:
        _note_flat(body, known)


def _inner_graphs(graph: ir.Graph) -> list[ir.Graph]:
    return [body for node in graph if raw_attributes(node) for _, body in bodies(node)]


def nodes_with_ids(graph: ir.Graph, prefix: str = ROOT) -> Iterator[tuple[str, ir.Node]]:
    """Every node of the graph and of its bodies with its id, a node before its bodies.

    Ids are ``graph/NAME`` and ``graph/If_3:then_branch/NAME``; they are unique where names are unique per graph.
    """
    for node in graph:
        yield f"{prefix}/{node.name}", node
        if raw_attributes(node):
            for name, body in bodies(node):
                yield from nodes_with_ids(body, f"{prefix}/{node.name}:{name}")


def main_graph_id(node: ir.Node) -> str:
    """The id of a node of the main graph, as `nodes_with_ids` gives it."""
    return f"{ROOT}/{node.name}"


def bodies(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """The graphs that a node holds in its attributes, by attribute name (``name[2]`` in a list)."""
    for name, attribute in raw_attributes(node).items():
        kind = attribute.type
        # as_graph() checks the value once more, at every visit of every node; a reference has none.
        if kind is ir.AttributeType.GRAPH and attribute.value is not None:
            yield name, attribute.value
        elif kind is ir.AttributeType.GRAPHS and attribute.value is not None:
            for index, body in enumerate(attribute.value):
                yield f"{name}[{index}]", body


def all_graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    """The graph, then every body, each before the bodies in it."""
    pending = [graph]
    while pending:
        graph = pending.pop()
        yield graph
        if not is_flat(graph):
            pending.extend(reversed(_inner_graphs(graph)))


def all_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Every node of the graph and of its bodies, a node before its bodies."""
    if is_flat(graph):
        yield from graph
        return
    for node in graph:
        yield node
        if raw_attributes(node):
            for _, body in bodies(node):
                yield from all_nodes(body)


def outer_reads(node: ir.Node) -> Iterable[ir.Value]:
    """What the node reads, and what its bodies, at any depth, read of its own graph, each once."""
    found = {value: None for value in node.inputs if value is not None}
    if raw_attributes(node):
        for _, body in bodies(node):
            for graph in all_graphs(body):
                read = (value for inner in graph for value in inner.inputs)
                found |= {v: None for v in (*read, *graph.outputs) if v is not None and v.graph is node.graph}
    return found


def is_counted(node: ir.Node) -> bool:
    """Whether a plan speaks of the node: every one but Constant and Cast, which follow their readers."""
    return not (node.domain == "" and node.op_type in ("Constant", "Cast"))
