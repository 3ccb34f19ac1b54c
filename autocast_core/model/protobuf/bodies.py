"""Whether the bodies of control-flow nodes have the inputs and outputs that their nodes ask of them.

onnx.checker does not compare them (its full check does, where shape inference works). ONNX operators If, Loop, Scan (9
and later) and SequenceMap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx

from autocast_core.errors import ModelError
from autocast_core.operators.families import CONTROL_FLOW


def check_bodies(nodes: Iterable[onnx.NodeProto], opset: int, label: str) -> None:
    """ModelError where a node among `nodes` (not in their bodies) and a body of it do not fit."""
    for node in nodes:
        if node.op_type not in CONTROL_FLOW or node.domain not in ("", "ai.onnx"):
            continue
        bodies = {each.name: each.g for each in node.attribute if each.type == onnx.AttributeProto.GRAPH}
        for name, what, found, wanted in _wanted(node, bodies, opset):
            if found < wanted:
                raise ModelError(
                    f"{label}: node {node.name!r} ({node.op_type}): {name} has {found} {what} instead of {wanted}: "
                    "export the model again"
                )


def _wanted(
    node: onnx.NodeProto, bodies: Mapping[str, onnx.GraphProto], opset: int
) -> Iterator[tuple[str, str, int, int]]:
    """Where, of what, how many there are, and how many there must be at least."""
    if node.op_type == "If":
        for name, branch in bodies.items():
            yield name, "outputs", len(branch.output), len(node.output)
    body = bodies.get("body")
    if body is None:
        return
    if node.op_type == "Loop":
        states = len(body.input) - 2
        yield "body", "inputs", len(body.input), 2
        yield "the node", "outputs", len(node.output), states
        yield "body", "outputs", len(body.output), 1 + len(node.output)
    elif node.op_type == "Scan" and opset >= 9:
        scanned = next((each.i for each in node.attribute if each.name == "num_scan_inputs"), 0)
        yield "the node", "inputs", len(node.input), max(1, scanned)
        yield "the node", "outputs", len(node.output), len(node.input) - scanned
        yield "body", "inputs", len(body.input), len(node.input)
        yield "body", "outputs", len(body.output), len(node.output)
    elif node.op_type == "SequenceMap":
        yield "body", "inputs", len(body.input), len(node.input)
        yield "body", "outputs", len(body.output), len(node.output)
