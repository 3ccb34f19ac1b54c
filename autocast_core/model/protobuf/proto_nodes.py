"""Walking the nodes of a model in protobuf's form; `graph.walk` does it in onnx_ir's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx


def proto_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """`nodes` and those of their bodies, at any depth: each node before its bodies."""
    for node in nodes:
        yield node
        for body in proto_bodies(node):
            yield from proto_nodes(body.node)


def proto_bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that are attributes of `node`."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
