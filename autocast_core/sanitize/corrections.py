"""What onnx.version_converter (onnx 1.23) gets wrong, put right around its call.

- Hardmax 11 → 13: its meaning changed as Softmax's did (an axis to flatten at became the axis to reduce), but the
  converter only renumbers it. It is sent through as a Softmax, which has the same attributes and history.
- Resize 10 → 11, and Upsample by way of it: version 10 samples at output index / scale, rounding down; the defaults of
  version 11 are half_pixel and round_prefer_floor. The converter leaves the defaults.

Measured by running each operator before and after in ONNX Runtime: tests/autocast_core/sanitize/test_upgrade.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx


def stand_in(op_type: str, source: int, target: int) -> str:
    """The operator to send through the converter in the place of `op_type`."""
    return "Softmax" if op_type == "Hardmax" and source < 13 <= target else op_type


def correct(op_type: str, source: int, target: int, nodes: Sequence[onnx.NodeProto]) -> None:
    """Puts right, in place, the nodes that the converter made of one `op_type` node."""
    sent = stand_in(op_type, source, target)
    for node in nodes:
        if sent != op_type and node.op_type == sent:
            node.op_type = op_type
        if op_type in ("Resize", "Upsample") and source < 11 <= target and node.op_type == "Resize":
            _sample_as_version_10(node)


def _sample_as_version_10(resize: onnx.NodeProto) -> None:
    mode = next((attribute.s for attribute in resize.attribute if attribute.name == "mode"), b"nearest")
    wanted = {"coordinate_transformation_mode": "asymmetric"}
    if mode == b"nearest":
        wanted["nearest_mode"] = "floor"
    present = {attribute.name for attribute in resize.attribute}
    resize.attribute.extend(
        onnx.helper.make_attribute(name, value) for name, value in wanted.items() if name not in present
    )
