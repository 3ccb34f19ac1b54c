"""Scan of opset 8, which runs over a batch at once, as the Scan that followed it.

From opset 9 on Scan has no batch. The first dimension of each operand of the earlier one is the batch, so it is a Scan
over the batch whose body is the Scan over the sequence: exactly what ONNX's definitions of both say.
https://onnx.ai/onnx/operators/text_diff_Scan_8_9.html
"""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.graph.names import UnusedNames

FIRST_OPSET = 9
"""The first whose Scan has no batch."""


def has_lengths(node: ir.Node) -> bool:
    """Whether a Scan of opset 8 gives each sequence of the batch a length of its own: later ones cannot."""
    return bool(node.inputs) and node.inputs[0] is not None


def split_batch(node: ir.Node, node_names: UnusedNames, value_names: UnusedNames) -> None:
    """Make the Scan of opset 8 `node`, which has no lengths, one of opset 9 over the batch, in place."""
    operands = list(node.inputs[1:])
    inputs = [_without_batch(value, value_names.fresh(f"{node.name}_input")) for value in operands]
    directions = node.attributes.get("directions")
    attributes = [
        ir.AttrGraph("body", node.attributes["body"].as_graph()),
        ir.AttrInt64("num_scan_inputs", node.attributes["num_scan_inputs"].as_int()),
        *([] if directions is None else [ir.AttrInt64s("scan_input_directions", directions.as_ints())]),
    ]
    inner = ir.Node(
        "", "Scan", inputs, attributes, num_outputs=len(node.outputs), name=node_names.fresh(f"{node.name}_sequence")
    )
    for made, output in zip(inner.outputs, node.outputs, strict=True):
        described = _without_batch(output, value_names.fresh(f"{node.name}_output"))
        made.name, made.type, made.shape = described.name, described.type, described.shape
    body = ir.Graph(inputs, list(inner.outputs), nodes=[inner], name=f"{node.name}_batch")
    for place, value in enumerate(operands):
        node.replace_input_with(place, value)
    node.resize_inputs(len(operands))
    node.attributes.clear()
    node.attributes["body"] = ir.AttrGraph("body", body)
    node.attributes["num_scan_inputs"] = ir.AttrInt64("num_scan_inputs", len(operands))


def _without_batch(value: ir.Value | None, name: str) -> ir.Value:
    """A value of this name for one element of the batch of `value`."""
    if value is None:
        return ir.Value(name=name)
    shape = None if value.shape is None else ir.Shape(list(value.shape)[1:])
    return ir.Value(name=name, type=value.type, shape=shape)
