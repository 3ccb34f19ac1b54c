"""Whether every name in a body has one meaning.

The names of a body must differ from those that it can see around it (ONNX's IR specification, "Names Within a Graph"),
but onnx.checker does not ask that of initializers, and runtimes disagree on which of the two a node then reads.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from autocast_core.errors import ModelError


def check_scopes(graph: onnx.GraphProto, label: str) -> None:
    """ModelError where a body reads an initializer of its own with the name, but not the content, of a value around it.

    A name that is given only after the node of the body is not seen in the body.
    """
    _check(graph, (), label)


_Scope = dict[str, onnx.TensorProto | None]
"""The names that a graph has given so far, with the tensors of its initializers."""


def _check(graph: onnx.GraphProto, outer: tuple[_Scope, ...], label: str) -> None:
    own: _Scope = dict.fromkeys(value.name for value in graph.input)
    own.update((tensor.name, tensor) for tensor in graph.initializer)
    scopes = (*outer, own)
    for node in graph.node:
        for where, body in _bodies(node):
            for tensor in body.initializer:
                hides = any(tensor.name in scope and scope[tensor.name] != tensor for scope in scopes)
                if hides and tensor.name in _read(body):
                    raise ModelError(
                        f"{label}: initializer {tensor.name!r} of {where} of node {node.name!r} ({node.op_type}) has "
                        "the name of a value outside, which ONNX forbids and runtimes read differently: rename it"
                    )
            _check(body, scopes, label)
        own.update(dict.fromkeys(node.output))


def _read(graph: onnx.GraphProto) -> set[str]:
    """The names that the nodes of `graph` and of its bodies read, and those that it gives out."""
    read = {value.name for value in graph.output}
    for node in graph.node:
        read.update(node.input)
        for _, body in _bodies(node):
            read |= _read(body)
    return read


def _bodies(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        for index, body in enumerate(attribute.graphs):
            yield f"{attribute.name}[{index}]", body
