"""Whether a value is a score: whether a Softmax follows it."""

from __future__ import annotations

import onnx_ir as ir

_BETWEEN = frozenset(
    {"Add", "Sub", "Mul", "Div", "Where", "Tanh", "Clip", "Max", "Min", "Reshape", "Cast", "Identity", "Squeeze"}
)
"""What stands between scores and their Softmax: scales, masks, soft caps, layout."""
_MOST_NODES = 24


def leads_to_softmax(value: ir.Value) -> bool:
    """Whether a Softmax follows `value` within a few pointwise nodes."""
    pending, seen = [value], set[ir.Node]()
    while pending and len(seen) < _MOST_NODES:
        for node, _ in pending.pop().uses():
            if node.domain != "" or node in seen:
                continue
            if node.op_type == "Softmax":
                return True
            if node.op_type in _BETWEEN:
                seen.add(node)
                pending.extend(node.outputs)
    return False
