"""Depth of reduction: the number of addends of one output element, by operator.

Operators without a sum (element-wise, data movement, maxima) have depth 1. Sources: the ONNX operator pages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor


def reduction_depth(node: ir.Node) -> int | None:
    """How many values one output element of `node` sums; None where the shapes do not tell."""
    count = _COUNTS.get(node.op_type)
    if count is None:
        return 1
    try:
        return count(node)
    except (IndexError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def _dims(node: ir.Node, index: int) -> list[int]:
    """The static dims of input `index`; a symbolic one becomes 0, which no product may use."""
    value = node.inputs[index]
    if value is None or value.shape is None:
        raise ValueError("no shape")
    return [dim if isinstance(dim, int) else 0 for dim in value.shape]


def _product(dims: Sequence[int]) -> int | None:
    return None if 0 in dims else math.prod(dims)


def _ints(node: ir.Node, name: str, default: Sequence[int] = ()) -> list[int]:
    return list(node.attributes[name].as_ints()) if name in node.attributes else list(default)


def _int(node: ir.Node, name: str, default: int) -> int:
    return node.attributes[name].as_int() if name in node.attributes else default


def _conv(node: ir.Node) -> int | None:
    return _product(_dims(node, 1)[1:])


def _conv_transpose(node: ir.Node) -> int | None:
    weight = _dims(node, 1)
    strides = _ints(node, "strides", [1] * (len(weight) - 2))
    taps = [-(-size // stride) for size, stride in zip(weight[2:], strides, strict=True)]
    return _product([weight[0] // _int(node, "group", 1), *taps])


def _gemm(node: ir.Node) -> int | None:
    return _product([_dims(node, 0)[0 if _int(node, "transA", 0) else 1]])


def _matmul(node: ir.Node) -> int | None:
    left = node.inputs[0]
    if left is not None and left.shape is not None and isinstance(left.shape[-1], int):
        return left.shape[-1]
    right = _dims(node, 1)
    return _product([right[-2] if len(right) > 1 else right[0]])


def _einsum(node: ir.Node) -> int | None:
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    labels = "".join(terms.split(","))
    if not arrow:
        result = "".join(sorted(label for label in set(labels) if labels.count(label) == 1))
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms.split(",")):
        plain = term.replace("...", "")
        dims = _dims(node, index)
        head = term.find("...")
        places = dims if head < 0 else dims[:head] + dims[len(dims) - (len(plain) - head) :]
        sizes.update(zip(plain, places, strict=True))
    return _product([size for label, size in sorted(sizes.items()) if label not in result]) or None


def _axes(node: ir.Node, rank: int) -> list[int]:
    """The reduced axes, from the attribute or from a constant input; all without either."""
    if "axes" in node.attributes:
        axes = _ints(node, "axes")
    elif len(node.inputs) > 1 and node.inputs[1] is not None:
        constant = constant_tensor(node.inputs[1])
        if constant is None:
            raise ValueError("axes are computed")
        axes = [int(axis) for axis in constant.numpy().reshape(-1)]
    else:
        axes = []
    if not axes:
        return [] if _int(node, "noop_with_empty_axes", 0) else list(range(rank))
    return [axis % rank for axis in axes]


def _reduce(node: ir.Node) -> int | None:
    dims = _dims(node, 0)
    return _product([dims[axis] for axis in _axes(node, len(dims))])


def _kernel(node: ir.Node) -> int | None:
    return _product(_ints(node, "kernel_shape"))


def _spatial(node: ir.Node) -> int | None:
    return _product(_dims(node, 0)[2:])


def _along_axis(default: int) -> Callable[[ir.Node], int | None]:
    def count(node: ir.Node) -> int | None:
        return _product([_dims(node, 0)[_int(node, "axis", default)]])

    return count


def _from_axis(node: ir.Node) -> int | None:
    dims = _dims(node, 0)
    return _product(dims[_int(node, "axis", -1) % len(dims) :])


def _group_norm(node: ir.Node) -> int | None:
    dims = _dims(node, 0)
    return _product([dims[1] // _int(node, "num_groups", 1), *dims[2:]])


def _mean_variance(node: ir.Node) -> int | None:
    dims = _dims(node, 0)
    return _product([dims[axis] for axis in _ints(node, "axes", [0, 2, 3])])


def _recurrent(node: ir.Node) -> int | None:
    inputs, hidden = _product([_dims(node, 1)[2]]), _product([_dims(node, 2)[2]])
    return None if inputs is None or hidden is None else inputs + hidden


def _cumsum(node: ir.Node) -> int | None:
    axis = constant_tensor(node.inputs[1]) if node.inputs[1] is not None else None
    if axis is None:
        return None
    return _product([_dims(node, 0)[int(axis.numpy().reshape(-1)[0])]])


def _inputs(node: ir.Node) -> int | None:
    return len(node.inputs)


def _attention(node: ir.Node) -> int | None:
    query, key = _dims(node, 0), _dims(node, 1)
    heads = _int(node, "q_num_heads", 0)
    size = query[-1] if len(query) == 4 else (query[-1] // heads if heads else query[-1])
    past = node.inputs[4] if len(node.inputs) > 4 else None
    length = _product([size, key[-2]])
    if length is None:
        return None
    return max(size, key[-2] + (_dims(node, 4)[-2] if past is not None else 0))


def _loss(node: ir.Node) -> int | None:
    dims = _dims(node, 0)
    return _product([dims[0], *dims[2:]])


_COUNTS: Mapping[str, Callable[[ir.Node], int | None]] = MappingProxyType(
    {
        "Conv": _conv,
        "FusedConv": _conv,
        "DeformConv": _conv,
        "ConvTranspose": _conv_transpose,
        "Gemm": _gemm,
        "FusedGemm": _gemm,
        "MatMul": _matmul,
        "FusedMatMul": _matmul,
        "Einsum": _einsum,
        "Attention": _attention,
        "MultiHeadAttention": _attention,
        "AveragePool": _kernel,
        "LpPool": _kernel,
        "GlobalAveragePool": _spatial,
        "GlobalLpPool": _spatial,
        "InstanceNormalization": _spatial,
        "GroupNormalization": _group_norm,
        "LayerNormalization": _from_axis,
        "RMSNormalization": _from_axis,
        "SimplifiedLayerNormalization": _from_axis,
        "MeanVarianceNormalization": _mean_variance,
        "LpNormalization": _along_axis(-1),
        "Softmax": _along_axis(-1),
        "LogSoftmax": _along_axis(-1),
        "LRN": lambda node: node.attributes["size"].as_int(),
        "CumSum": _cumsum,
        "RNN": _recurrent,
        "LSTM": _recurrent,
        "GRU": _recurrent,
        "Sum": _inputs,
        "Mean": _inputs,
        "DFT": _along_axis(-2),
        "NegativeLogLikelihoodLoss": _loss,
        "SoftmaxCrossEntropyLoss": _loss,
        **dict.fromkeys(
            (
                "ReduceSum",
                "ReduceMean",
                "ReduceL1",
                "ReduceL2",
                "ReduceSumSquare",
                "ReduceLogSum",
                "ReduceLogSumExp",
            ),
            _reduce,
        ),
    }
)
