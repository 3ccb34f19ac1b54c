"""QuantizeLinear and the DequantizeLinear nodes that read it need one precision: a scale must undo itself exactly.

TensorRT fuses a pair only where both have the same scale, and a scale rounded on one side alone is a gain error.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

QUANTIZED_MOVEMENT = frozenset(
    {"Reshape", "Transpose", "Identity", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Split", "MaxPool"}
)
"""Operators that quantized values pass through between a pair."""


def quantization_pairs(ids: Mapping[str, ir.Node]) -> list[tuple[str, frozenset[str]]]:
    """Groups of node ids, a QuantizeLinear and its readers each: (name of the quantized value, the ids)."""
    by_node = {node: node_id for node_id, node in ids.items()}
    found = []
    for node_id, node in ids.items():
        if _is(node, "QuantizeLinear"):
            readers = {by_node[reader] for reader in _dequantizers(node.outputs[0]) if reader in by_node}
            if readers:
                found.append((node.outputs[0].name or "", frozenset({node_id, *readers})))
    return found


def _dequantizers(value: ir.Value) -> list[ir.Node]:
    found, pending = [], [value]
    while pending:
        for node, index in pending.pop().uses():
            if _is(node, "DequantizeLinear") and index == 0:
                found.append(node)
            elif node.domain == "" and node.op_type in QUANTIZED_MOVEMENT and index == 0:
                pending.extend(node.outputs)
    return found


def _is(node: ir.Node, op_type: str) -> bool:
    return node.domain == "" and node.op_type == op_type
