"""How the operands of a control-flow node meet those of its bodies.

A port is one value that a node and its bodies share: a loop state, a scan input or output, a branch output. All parts
of a port have one element type, which is the precision of the node. Captured outer values are not ports: a body reads
them as any node does. Sources: ONNX operators If, Loop, Scan (9 and later) and SequenceMap.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.operators.families import CONTROL_FLOW, is_in


@dataclass(frozen=True)
class BodyOutput:
    """Output `index` of a body graph, which the port reads."""

    graph: ir.Graph
    index: int

    @property
    def value(self) -> ir.Value:
        return self.graph.outputs[self.index]


@dataclass(frozen=True)
class BodyPort:
    """One shared value; parts that a kind of port does not have are None or empty.

    `input_index` and `output_index` are those of the node. `unwrap`: outside a sequence or a stack of tensors, inside
    one element of it.
    """

    node: ir.Node
    input_index: int | None
    output_index: int | None
    inner_input: ir.Value | None
    body_outputs: tuple[BodyOutput, ...]
    unwrap: bool = False

    @property
    def outer_input(self) -> ir.Value | None:
        return None if self.input_index is None else self.node.inputs[self.input_index]

    @property
    def outer_output(self) -> ir.Value | None:
        return None if self.output_index is None else self.node.outputs[self.output_index]

    @property
    def inner_outputs(self) -> tuple[ir.Value, ...]:
        return tuple(output.value for output in self.body_outputs)


def ports_of(node: ir.Node) -> tuple[BodyPort, ...]:
    """The ports of a control-flow node, none for any other node."""
    if not is_in(node, CONTROL_FLOW):
        return ()
    return {"If": _if, "Loop": _loop, "Scan": _scan, "SequenceMap": _sequence_map}[node.op_type](node)


def _body(node: ir.Node, name: str) -> ir.Graph:
    return node.attributes[name].as_graph()


def _if(node: ir.Node) -> tuple[BodyPort, ...]:
    branches = [_body(node, name) for name in ("then_branch", "else_branch")]
    return tuple(
        BodyPort(node, None, index, None, tuple(BodyOutput(branch, index) for branch in branches))
        for index in range(len(node.outputs))
    )


def _loop(node: ir.Node) -> tuple[BodyPort, ...]:
    body = _body(node, "body")
    states = len(body.inputs) - 2
    carried = [
        BodyPort(node, 2 + k if 2 + k < len(node.inputs) else None, k, body.inputs[2 + k], (BodyOutput(body, 1 + k),))
        for k in range(states)
    ]
    scanned = [
        BodyPort(node, None, k, None, (BodyOutput(body, 1 + k),), unwrap=True) for k in range(states, len(node.outputs))
    ]
    return (*carried, *scanned)


def _scan(node: ir.Node) -> tuple[BodyPort, ...]:
    body = _body(node, "body")
    if len(body.inputs) != len(node.inputs):
        return ()  # before opset 9 a first input gave the lengths of sequences, which the body does not see
    scan_inputs = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - scan_inputs
    carried = [BodyPort(node, k, k, body.inputs[k], (BodyOutput(body, k),)) for k in range(states)]
    read = [BodyPort(node, k, None, body.inputs[k], (), unwrap=True) for k in range(states, len(node.inputs))]
    written = [
        BodyPort(node, None, k, None, (BodyOutput(body, k),), unwrap=True) for k in range(states, len(node.outputs))
    ]
    return (*carried, *read, *written)


def _sequence_map(node: ir.Node) -> tuple[BodyPort, ...]:
    body = _body(node, "body")
    read = [
        BodyPort(node, k, None, body.inputs[k], (), unwrap=isinstance(_kind(value), ir.SequenceType))
        for k, value in enumerate(node.inputs)
    ]
    written = [BodyPort(node, None, k, None, (BodyOutput(body, k),), unwrap=True) for k in range(len(node.outputs))]
    return (*read, *written)


def _kind(value: ir.Value | None) -> ir.TypeProtocol | None:
    return None if value is None else value.type
