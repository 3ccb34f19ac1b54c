"""Running a model at a lower opset where ONNX Runtime has no kernel at the model's own.

ONNX Runtime 1.32 has CPU kernels of RandomNormalLike, RoiAlign, Multinomial, MaxRoiPool and their like up to opset 21;
opset 22 only admits BF16 there. A model whose operators all have the same signature at a lower opset, but for the types
that they admit, computes the same at it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TypeVar

import onnx

from autocast_core.errors import BackendError
from autocast_core.model.protobuf.proto_nodes import proto_nodes

T = TypeVar("T")

logger = logging.getLogger(__name__)
_NO_KERNEL = re.compile(r"Could not find an implementation for (?P<op_type>\w+)\((?P<version>\d+)\)")
_LOWEST = 13
"""Below it some operators mean other things with the same signature, Hardmax for one."""


def open_with_kernels(start: Callable[[bytes], T], model: bytes) -> T:
    """What `start` gives of a serialised model, else of the model at the highest lower opset that has the kernels.

    BackendError as `start` raises it for `model` itself where no lower opset helps.
    """
    try:
        return start(model)
    except BackendError as refusal:
        current, finding = model, refusal
        while (lower := at_lower_opset(current, str(finding))) is not None:
            try:
                started = start(lower)
            except BackendError as error:
                current, finding = lower, error
                continue
            logger.info("run at a lower opset, where all operators mean the same: %s", _missing(str(refusal)))
            return started
        raise


def at_lower_opset(model: bytes, refusal: str) -> bytes | None:
    """The serialised model at the highest opset below the version of the operator that ONNX Runtime's message
    `refusal` says it has no kernel of.

    None where the message says something else, or where another operator differs at that opset.
    """
    lacking = _NO_KERNEL.search(refusal)
    if lacking is None or int(lacking["version"]) <= _LOWEST:
        return None
    proto = onnx.ModelProto.FromString(model)
    opset = int(lacking["version"]) - 1
    default = [entry for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    if len(default) != 1 or default[0].version <= opset or proto.functions:
        return None
    used = _operators(proto.graph)
    if not all(_is_same(each, default[0].version, opset) for each in used):
        return None
    default[0].version = opset
    content: bytes = proto.SerializeToString()
    return content


def _missing(refusal: str) -> str:
    """What ONNX Runtime has no kernel of."""
    lacking = _NO_KERNEL.search(refusal)
    return f"ONNX Runtime has no kernel of {lacking['op_type']} of opset {lacking['version']}" if lacking else refusal


def _operators(graph: onnx.GraphProto) -> set[str]:
    """The operators of the default domain that the graph and its bodies use."""
    return {node.op_type for node in proto_nodes(graph.node) if node.domain in ("", "ai.onnx")}


def _is_same(op_type: str, opset: int, lower: int) -> bool:
    """Whether an operator has one signature at both opsets, but for the types that it admits; what onnx does not know
    does not change."""
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return True
    try:
        before = onnx.defs.get_schema(op_type, lower, "")
    except onnx.defs.SchemaError:
        return False
    return schema.since_version == before.since_version or _signature(schema) == _signature(before)


def _signature(schema: onnx.defs.OpSchema) -> object:
    operands = [(each.name, each.option, each.type_str) for each in (*schema.inputs, *schema.outputs)]
    attributes = {
        name: (each.type, each.required, each.default_value.SerializeToString())
        for name, each in schema.attributes.items()
    }
    return len(schema.inputs), operands, attributes
