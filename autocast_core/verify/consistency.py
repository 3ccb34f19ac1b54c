"""Whether a graph hangs together: every value that is read or given out is made somewhere, and has one type."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.walk import ROOT, all_graphs, bodies


def broken_edges(model: ir.Model) -> Iterator[str]:
    """A sentence for each value that a node reads, or a graph gives out, and that nothing visible there makes."""
    yield from _broken(model.graph, ROOT, ())


def undefined_types(model: ir.Model) -> Iterator[str]:
    """A sentence for each input and output of a graph that is declared as a tensor of UNDEFINED elements, and for each
    input of the main graph that is a tensor without a shape.

    Runtimes refuse to load the former, where onnx.checker does not look; it does not name the latter.
    """
    for value in model.graph.inputs:
        if isinstance(value.type, ir.TensorType) and value.shape is None:
            yield f"input {value.name!r} has no shape"
    for graph in all_graphs(model.graph):
        for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
            for value in values:
                if isinstance(value.type, ir.TensorType) and value.type.dtype == ir.DataType.UNDEFINED:
                    yield f"{kind} {value.name!r} of graph {graph.name!r} is declared with an undefined element type"


def inconsistent_tensors(model: ir.Model) -> Iterator[str]:
    """A sentence for each initializer whose value says another type or shape than its data, or has none."""
    for graph in all_graphs(model.graph):
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                yield f"initializer {name!r} has no data"
            elif value.dtype is not None and value.dtype != tensor.dtype:
                yield f"initializer {name!r} is declared {value.dtype.name} and holds {tensor.dtype.name}"
            elif value.shape is not None and value.shape is not tensor.shape and _differ(value.shape, tensor.shape):
                yield f"initializer {name!r} is declared {value.shape} and holds {list(tensor.shape)}"
            elif (length := _other_length(tensor)) is not None:
                yield f"initializer {name!r} needs {tensor.nbytes} bytes and refers to {length}"


def _other_length(tensor: ir.TensorProtocol) -> int | None:
    """The length that a reference to a file gives, where the tensor needs another one."""
    if type(tensor) is ir.Tensor or not isinstance(tensor, ir.ExternalTensor):
        return None
    return None if tensor.length == tensor.nbytes else tensor.length


def _broken(graph: ir.Graph, path: str, outer: tuple[set[ir.Value], ...]) -> Iterator[str]:
    """As broken_edges, of one graph and its bodies; `outer` holds what the graphs around it have made so far."""
    made = {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        for value in node.inputs:
            if value is not None and value not in made and not any(value in scope for scope in outer):
                yield f"{_named(node, path)} reads {value.name!r}, which nothing before it makes"
        for name, body in bodies(node) if raw_attributes(node) else ():
            yield from _broken(body, f"{path}/{node.name}:{name}", (*outer, made))
        made.update(node.outputs)
    for index, value in enumerate(graph.outputs):
        if not any(value in scope for scope in (*outer, made)):
            yield f"output {index} ({value.name!r}) of {path} is made by no node of it"


def _named(node: ir.Node, path: str) -> str:
    if node.name:
        return f"node {path}/{node.name} ({node.op_type})"
    made = next((value.name for value in node.outputs if value.name), None)
    return f"the {node.op_type} node of {path} that makes {made!r}"


def _differ(declared: ir.Shape, held: ir.ShapeProtocol) -> bool:
    return len(declared) != len(held) or any(
        isinstance(dim, int) and dim != length for dim, length in zip(declared, held, strict=True)
    )
