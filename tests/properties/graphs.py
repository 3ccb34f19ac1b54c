"""What the properties look at in a model: its graphs, its Casts, its declared inputs and outputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import onnx
from onnx import TensorProto

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16})
LOW = FLOATS - {TensorProto.FLOAT}
INSERTED = re.compile(r"_cast_(fp32|fp16|bf16)(_\d+)?$")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all bodies inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node or body.output:
                    yield from graphs(body)


def float_casts(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The Casts to a float type in this graph alone, by output."""
    return {node.output[0]: node for node in graph.node if node.op_type == "Cast" and target(node) in FLOATS}


def target(cast: onnx.NodeProto) -> int:
    """The type that a Cast makes."""
    return next(attribute.i for attribute in cast.attribute if attribute.name == "to")


def repeated_casts(model: onnx.ModelProto) -> list[str]:
    """Values that two Casts of one graph bring to one type, where not both make an output of the graph."""
    found = []
    for graph in graphs(model.graph):
        outputs = {value.name for value in graph.output}
        casts = float_casts(graph)
        seen = Counter((cast.input[0], target(cast)) for cast in casts.values())
        made = Counter((cast.input[0], target(cast)) for output, cast in casts.items() if output in outputs)
        found += [key[0] for key, times in seen.items() if times > max(1, made[key])]
    return found


def undone_casts(model: onnx.ModelProto) -> list[str]:
    """Casts that change nothing, or only undo another.

    What the source model rounds itself is its own affair; a Cast to the type that its input has, or had before another
    Cast, may stand where it makes an output of its graph from a value that cannot be one (an input, an outer value,
    another output).
    """
    types = element_types(model)
    casts = {name: cast for graph in graphs(model.graph) for name, cast in float_casts(graph).items()}
    found = []
    for graph in graphs(model.graph):
        outputs = {value.name for value in graph.output}
        may_be_output = {name for node in graph.node for name in node.output} - outputs
        for name, cast in float_casts(graph).items():
            first = casts.get(cast.input[0])
            undone = first is not None and types.get(first.input[0]) == target(cast) and not _rounds_by_itself(first)
            same = cast.input[0] if types.get(cast.input[0]) == target(cast) else first.input[0] if undone else None
            if same is not None and (name not in outputs or same in may_be_output):
                found.append(name)
    return found


def _rounds_by_itself(first: onnx.NodeProto) -> bool:
    """Whether it is a Cast of the source model to a low type; inserted ones are named after their value."""
    return target(first) in LOW and INSERTED.search(first.name) is None


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every tensor that the model or shape inference declares, bodies included."""
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {}
    for graph in graphs(inferred.graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            types[value.name] = value.type.tensor_type.elem_type
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
        types |= {name: target(cast) for name, cast in float_casts(graph).items()}
    return types


def ports(model: onnx.ModelProto) -> list[tuple[str, int, tuple[int | str, ...]]]:
    """Name, element type and dimensions of the inputs, then of the outputs."""
    return [
        (
            value.name,
            value.type.tensor_type.elem_type,
            tuple(dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim),
        )
        for value in (*model.graph.input, *model.graph.output)
    ]


def without_shapes(model: onnx.ModelProto) -> str:
    """The model as text, without what shape inference would add."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for graph in graphs(bare.graph):
        del graph.value_info[:]
    return onnx.printer.to_text(bare)
