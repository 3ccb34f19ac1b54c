"""Whether two nodes of different models compute the same: operators, attributes, and weights up to rounding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import bodies
from autocast_core.number_formats import FLOAT_DTYPES
from autocast_core.operators.families import TYPE_ATTRIBUTES

COMMUTATIVE = frozenset(
    {"Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Max", "Mean", "Min", "Mul"} | {"Or", "Sum", "Xor"}
)
_SAMPLE = 1024
_ALIKE = 0.02
"""The relative L2 difference up to which weights are the same, rounded: FP16 and BF16 round by at most 2^-8."""
_NOT_MEANT = TYPE_ATTRIBUTES | {"doc_string"}


def passes_on(node: ir.Node) -> bool:
    """Whether output 0 is input 0, up to its float type."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type in ("Identity", "Dropout"):
        return True
    return node.op_type == "Cast" and _is_float(node.inputs[0]) and _is_float(node.outputs[0])


def domain_of(node: ir.Node) -> str:
    """The node's domain, the default one as an empty text."""
    return "" if node.domain == "ai.onnx" else node.domain


def data_inputs(node: ir.Node) -> list[ir.Value]:
    """The node's own inputs that are not constant; what its bodies read from around it is not among them."""
    return [value for value in node.inputs if value is not None and not is_constant(value)]


def is_constant(value: ir.Value) -> bool:
    """Whether a value is a weight or a Constant, behind Casts too."""
    while True:
        if value.const_value is not None and not value.is_graph_input():
            return True
        producer = value.producer()
        if producer is None:
            return False
        if producer.op_type == "Constant" and producer.domain == "":
            return True
        if not passes_on(producer) or producer.inputs[0] is None:
            return False
        value = producer.inputs[0]


def same_attributes(left: ir.Node, right: ir.Node) -> bool:
    """Whether both have the same attributes, types aside; of bodies, the same operators."""
    return _attributes(left) == _attributes(right)


def same_weights(left: ir.Node, right: ir.Node) -> bool:
    """Whether the constant inputs of both are the same, up to rounding, in their order."""
    ours, theirs = _weights(left), _weights(right)
    return len(ours) == len(theirs) and all(_alike(a, b) for a, b in zip(ours, theirs, strict=True))


def _weights(node: ir.Node) -> Sequence[ir.TensorProtocol]:
    return [tensor for value in node.inputs if value is not None and (tensor := _tensor(value)) is not None]


def _tensor(value: ir.Value) -> ir.TensorProtocol | None:
    while (tensor := constant_tensor(value)) is None:
        producer = value.producer()
        if producer is None or not passes_on(producer) or producer.inputs[0] is None:
            return None
        value = producer.inputs[0]
    return tensor


def _alike(left: ir.TensorProtocol, right: ir.TensorProtocol) -> bool:
    if left.size != right.size or left.dtype == ir.DataType.STRING or right.dtype == ir.DataType.STRING:
        return False
    if tuple(left.shape) != tuple(right.shape) and left.size > 1:
        return False
    step = max(1, left.size // _SAMPLE)
    with np.errstate(all="ignore"):
        a, b = (each.numpy().reshape(-1)[::step].astype(np.float64) for each in (left, right))
        if left.dtype not in FLOAT_DTYPES:
            return bool(np.array_equal(a, b))
        scale = float(np.sqrt(np.sum(np.where(np.isfinite(a), a, 0.0) ** 2)))
        difference = float(np.sqrt(np.sum((a - b)[np.isfinite(a - b)] ** 2)))
    # Values beyond the range of 16 bits (masks) and below it (guards) become others; nodes differ by more than that.
    return difference <= _ALIKE * scale or (left.size == 1 and (abs(a[0]) < 1e-5 or abs(a[0]) > 1e4))


def _attributes(node: ir.Node) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, attribute in node.attributes.items():
        if name in _NOT_MEANT or attribute.is_ref():
            continue
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            continue
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = attribute.as_tensor().size
        found[name] = tuple(value) if isinstance(value, list | tuple) else value
    for name, body in bodies(node):
        found[name] = tuple(inner.op_type for inner in body if inner.op_type not in ("Cast", "Constant", "Identity"))
    return found


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in FLOAT_DTYPES
