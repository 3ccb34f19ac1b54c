"""The network as reports draw it: nodes and the values between them, modules, casts, inputs and outputs.

Plain values, so that models are read where files of strangers are read, and reports are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.graph.walk import is_counted, nodes_with_ids

_NAMESPACE = "namespace"
"""The node metadata in which PyTorch's exporter writes modules: ``: Model/layers.0: Linear/linear: aten.linear``."""


@dataclass(frozen=True)
class NodeWiring:
    """A node's place in the network: its own name, the names of the values it reads and writes, and the modules that it
    is in (``layers.0/attention``; empty where the exporter does not tell)."""

    id: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    module: str = ""


@dataclass(frozen=True)
class EdgeCast:
    """A Cast of the converted model on the way of `tensor` to the node `reader`; None: to the output of that name. `to`
    is the element type, as ONNX names it (``float16``)."""

    tensor: str
    reader: str | None
    to: str


@dataclass(frozen=True)
class Network:
    """A graph's name, inputs and outputs, the nodes that a plan speaks of in the order of the graph, and its casts.
    `passed_on` has the values that Casts of the source make of others, as (made, read)."""

    name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    nodes: tuple[NodeWiring, ...] = ()
    casts: tuple[EdgeCast, ...] = ()
    passed_on: tuple[tuple[str, str], ...] = ()


def network(planned: ir.Model, converted: ir.Model) -> Network:
    """The network that a plan is for, with the casts that the model which was made of it has. Bodies are included."""
    graph = planned.graph
    by_id = dict(nodes_with_ids(graph))
    return Network(
        graph.name or "",
        tuple(value.name for value in graph.inputs if value.name and value.name not in graph.initializers),
        tuple(value.name for value in graph.outputs if value.name),
        wiring(planned),
        tuple(_casts(planned, by_id, converted)),
        tuple(
            (node.outputs[0].name, node.inputs[0].name)
            for node in by_id.values()
            if _is_cast(node) and node.inputs[0] is not None and node.inputs[0].name and node.outputs[0].name
        ),
    )


def wiring(model: ir.Model) -> tuple[NodeWiring, ...]:
    """The wiring of every node that a plan speaks of, bodies included, in the order of the graph."""
    return tuple(
        NodeWiring(
            node_id,
            node.name or "",
            tuple(value.name for value in node.inputs if value is not None and value.name),
            tuple(value.name for value in node.outputs if value.name),
            module_of(node),
        )
        for node_id, node in nodes_with_ids(model.graph)
        if is_counted(node)
    )


def module_of(node: ir.Node) -> str:
    """The modules that the node is in, outermost first, each relative to the one before; empty where the node's own
    name is a path already, or nothing is known."""
    namespace = node.metadata_props.get(_NAMESPACE, "")
    if not namespace or "/" in (node.name or ""):
        return ""
    found, before = [], ""
    # The last part is the node itself.
    for part in namespace.split("/")[:-1]:
        module = part.partition(":")[0].strip()
        if module:
            found.append(module.removeprefix(f"{before}."))
            before = module
    return "/".join(found)


def _casts(planned: ir.Model, by_id: dict[str, ir.Node], converted: ir.Model) -> Iterator[EdgeCast]:
    for node_id, node in nodes_with_ids(converted.graph):
        if not is_counted(node) or node_id not in by_id:
            continue
        for before, after in zip(by_id[node_id].inputs, node.inputs, strict=False):
            if before is not None and before.name and (to := _cast_type(after)):
                yield EdgeCast(before.name, node_id, to)
    for before, after in zip(planned.graph.outputs, converted.graph.outputs, strict=False):
        if before.name and (to := _cast_type(after)):
            yield EdgeCast(before.name, None, to)


def _cast_type(value: ir.Value | None) -> str | None:
    """The type to which a Cast makes the value; None where something else makes it."""
    maker = value.producer() if value is not None else None
    if value is None or maker is None or not _is_cast(maker) or value.dtype is None:
        return None
    return value.dtype.name.lower()


def _is_cast(node: ir.Node) -> bool:
    return node.domain == "" and node.op_type == "Cast"
