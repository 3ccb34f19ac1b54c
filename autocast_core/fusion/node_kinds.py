"""What a node is to an engine that fuses nodes into kernels."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import CONTROL_FLOW, MATRIX_PRODUCTS, MOVES_ELEMENTS


class NodeKind(enum.Enum):
    """How fusion treats a node."""

    VIEW = "only changes how elements are named or typed: costs nothing"
    PRODUCT = "a matrix product or convolution: the kernel that others are fused into"
    REDUCTION = "a normalization, Softmax or reduction"
    ELEMENTWISE = "computes each element from few, or moves elements"
    ALONE = "a kernel of its own"


_VIEWS = frozenset({"Cast", "CastLike", "Dropout", "Flatten", "Identity", "Reshape", "Split", "Squeeze", "Unsqueeze"})
NORMALIZATIONS = frozenset(
    {"GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax", "LpNormalization"}
    | {"MeanVarianceNormalization", "RMSNormalization", "SimplifiedLayerNormalization"}
    | {"SkipLayerNormalization", "Softmax"}
)
"""Operators that reduce and then compute every element from the result."""
_MOVEMENTS = (MOVES_ELEMENTS | {"Concat", "Pad", "Trilu", "Where", "ScatterND"}) - _VIEWS
_ELEMENTWISE = frozenset(
    {"Abs", "Add", "And", "BatchNormalization", "Ceil", "Celu", "Clip", "Cos", "Div", "Elu", "Equal", "Erf", "Exp"}
    | {"Expand", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "IsNaN", "LeakyRelu"}
    | {"Less", "LessOrEqual", "Log", "Max", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Range"}
    | {"Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Sub", "Sum"}
    | {"Swish", "Tan", "Tanh", "ThresholdedRelu", "Xor", "BitwiseAnd", "BitwiseOr"}
)
_SHAPES = frozenset({"Constant", "Shape", "Size"})
_RANDOM = frozenset({"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform"})


def node_kind(node: ir.Node) -> NodeKind:
    """What the node is; operators that are not known are ALONE."""
    if node.domain != "":
        return NodeKind.ALONE
    operator = node.op_type
    if operator in _VIEWS:
        return NodeKind.VIEW
    if operator in MATRIX_PRODUCTS - {"LSTM", "GRU", "RNN", "Attention"}:
        return NodeKind.PRODUCT
    if operator in NORMALIZATIONS or operator.startswith("Reduce"):
        return NodeKind.REDUCTION
    return NodeKind.ELEMENTWISE if operator in _ELEMENTWISE or operator in _MOVEMENTS else NodeKind.ALONE


def only_moves(node: ir.Node) -> bool:
    """Whether the node computes no number."""
    return node.domain == "" and (node.op_type in _VIEWS or node.op_type in _MOVEMENTS - {"Where"})


def known_when_built(nodes: Iterable[ir.Node]) -> Collection[ir.Node]:
    """The nodes, given in graph order, that depend on constants and on shapes alone."""
    known: dict[ir.Value, None] = {}
    found = dict[ir.Node, None]()
    for node in nodes:
        if node.op_type in CONTROL_FLOW or node.op_type in _RANDOM:
            continue
        given = [value for value in node.inputs if value is not None]
        constant = all(value in known or constant_tensor(value) is not None for value in given)
        if node.op_type in _SHAPES or (given and constant):
            found[node] = None
            known.update(dict.fromkeys(node.outputs))
    return found.keys()
