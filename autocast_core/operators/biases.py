"""The biases of products: constants that are added to a matrix product or a convolution, one number a channel."""

from __future__ import annotations

from typing import NamedTuple

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor

WEIGHT = 1
"""The index of a product's weight among its inputs."""
_OWN_BIAS = 2


class Bias(NamedTuple):
    """Input `position` of `reader` holds the bias: of the product itself, or of the Add that alone reads its result."""

    reader: ir.Node
    position: int

    def value(self) -> ir.Value:
        value = self.reader.inputs[self.position]
        assert value is not None
        return value


def bias_of(product: ir.Node) -> Bias | None:
    """The constant FP32 bias of a MatMul, Gemm or Conv with a constant FP32 weight; None for any other node.

    A Gemm counts with `alpha` and `beta` of 1 and its first operand as it is.
    """
    channels = _channels(product)
    if channels is None:
        return None
    if product.op_type != "MatMul":
        return Bias(product, _OWN_BIAS) if _is_bias(product, _OWN_BIAS, channels) else None
    uses = list(product.outputs[0].uses())
    if len(uses) != 1 or product.outputs[0].is_graph_output() or uses[0].node.op_type != "Add":
        return None
    other = 1 - uses[0].idx
    return Bias(uses[0].node, other) if _is_bias(uses[0].node, other, channels) else None


def _channels(product: ir.Node) -> int | None:
    """How many channels the product makes; None for what is no product with a constant FP32 weight."""
    if product.domain != "" or product.op_type not in ("MatMul", "Gemm", "Conv"):
        return None
    weight = constant_tensor(product.inputs[WEIGHT])
    if weight is None or weight.dtype != ir.DataType.FLOAT:
        return None
    dims = weight.shape.numpy()
    if product.op_type == "Conv":
        return dims[0]
    scaled = any(product.attributes.get_float(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    if len(dims) != 2 or scaled or product.attributes.get_int("transA", 0) != 0:
        return None
    return dims[0] if has_transposed_weight(product) else dims[1]


def has_transposed_weight(product: ir.Node) -> bool:
    """Whether the product, a MatMul or Gemm, has a weight [channels made, channels read]."""
    return product.attributes.get_int("transB", 0) != 0


def _is_bias(node: ir.Node, index: int, channels: int) -> bool:
    tensor = constant_tensor(node.inputs[index]) if index < len(node.inputs) else None
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size != channels:
        return False
    return tensor.shape.numpy()[-1:] == (channels,)
