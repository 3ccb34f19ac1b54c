"""Whether attributes of nodes say what can be: onnx.checker asks none of this.

Sources: onnx.proto, TensorProto.DataType and AttributeProto.ref_attr_name; ONNX operator Constant.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

from autocast_core.errors import ModelError
from autocast_core.operators.families import TYPE_ATTRIBUTES

_ONNX = ("", "ai.onnx")
_LARGEST_AXIS = (1 << 31) - 1
"""Runtimes cut larger numbers off, each at its own length."""
_KNOWN = frozenset(map(int, ir.DataType))


def check_attributes(nodes: Iterable[onnx.NodeProto], label: str) -> None:
    """ModelError where one of the `nodes`, which stand in no function, is not what ONNX allows.

    Its operator type is not UTF-8; it names an unknown element type or an axis beyond 32 bits, or refers to an
    attribute of a function; it is a Constant without exactly one value.
    """
    for node in nodes:
        if isinstance(node.op_type, bytes) or isinstance(node.domain, bytes):  # so protobuf hands out what is not UTF-8
            where = f"{node.domain!r}, {node.op_type!r}"
            raise ModelError(f"{label}: a node's operator ({where}) is not valid UTF-8: export the model again")
        if node.op_type == "Constant" and node.domain in _ONNX and len(node.attribute) != 1:
            held = f"has {len(node.attribute)} attributes instead of one, its value"
            raise ModelError(f"{label}: node {node.name!r} (Constant) {held}: export the model again")
        for attribute in node.attribute:
            if attribute.ref_attr_name:
                what = f"refers to {attribute.ref_attr_name!r} of a function, but stands in none"
            elif _names_a_type(node, attribute) and attribute.i not in _KNOWN:
                what = f"has the unknown element type {attribute.i}"
            elif attribute.name == "axis" and abs(attribute.i) > _LARGEST_AXIS:
                what = f"names the axis {attribute.i}, which no tensor has"
            else:
                continue
            where = f"node {node.name!r} ({node.op_type}): attribute {attribute.name!r}"
            raise ModelError(f"{label}: {where} {what}: export the model again")


def _names_a_type(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> bool:
    return attribute.name in TYPE_ATTRIBUTES and attribute.type == onnx.AttributeProto.INT and node.domain in _ONNX
