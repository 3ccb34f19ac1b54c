"""Products of two matrices that are computed: what they sum over, and the sizes of their operands."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor, small_array

PRODUCTS = frozenset({("", "MatMul"), ("", "Einsum"), ("", "Gemm"), ("com.microsoft", "FusedMatMul")})
_MOST_STEPS = 12


def is_product(node: ir.Node) -> bool:
    """Whether the node multiplies two matrices."""
    is_whole = len(node.inputs) >= 2 and None not in node.inputs[:2] and bool(node.outputs)
    return is_whole and (node.op_type != "Einsum" or len(node.inputs) == 2) and (node.domain, node.op_type) in PRODUCTS


def contracted_size(product: ir.Node) -> int | None:
    """How many products each element of the result sums up; None where shapes do not tell."""
    left, right = product.inputs[:2]
    if product.op_type == "Einsum":
        return _einsum_size(product, in_left=True, in_right=True, in_result=False)
    axes = (-2 if _is_transposed(product, "transA") else -1, -1 if _is_transposed(product, "transB") else -2)
    return next((size for size in (size_of(left, axes[0]), size_of(right, axes[1])) if size is not None), None)


def columns(product: ir.Node, operand: int) -> int | None:
    """The size of `operand` (0 or 1) that the result keeps and the other operand lacks; None where it is not known."""
    if product.op_type == "Einsum":
        return _einsum_size(product, in_left=operand == 0, in_right=operand == 1, in_result=True)
    if operand == 0:
        return size_of(product.inputs[0], -1 if _is_transposed(product, "transA") else -2)
    return size_of(product.inputs[1], -2 if _is_transposed(product, "transB") else -1)


def _is_transposed(product: ir.Node, attribute: str) -> bool:
    return product.op_type in ("Gemm", "FusedMatMul") and product.attributes.get_int(attribute, 0) == 1


def is_key_left(product: ir.Node, axis: int) -> bool:
    """Whether the axis of the result (counted from its end) along which a Softmax runs comes from the left operand."""
    if product.op_type != "Einsum":
        return axis != -1
    left, right, result = _labels(product)
    return len(result) >= -axis and result[axis] in left and result[axis] not in right


def sums_over(product: ir.Node, operand: int, axis: int) -> bool:
    """Whether an Einsum sums over that axis of `operand` (counted from the end), and over no other that both have."""
    labels = _labels(product)
    given, other, result = labels[operand], labels[1 - operand], labels[2]
    summed = {label for label in given if label in other and label not in result}
    return (
        len(given) >= -axis and summed == {given[axis]} and all(each in result for each in given if each not in other)
    )


def _labels(einsum: ir.Node) -> tuple[str, str, str]:
    """The labels of both operands and of the result; an ellipsis is one label, of leading axes."""
    equation = (einsum.attributes.get_string("equation") or "").replace(" ", "").replace("...", "…")
    sides, arrow, result = equation.partition("->")
    left, _, right = sides.partition(",")
    once = sorted(label for label in left + right if label != "…" and (left + right).count(label) == 1)
    return left, right, result if arrow else "…" * ("…" in sides) + "".join(once)


def _einsum_size(product: ir.Node, *, in_left: bool, in_right: bool, in_result: bool) -> int | None:
    """The product of the sizes of the labels that stand exactly there; None where one is not known."""
    left, right, result = _labels(product)
    if "…" in left[1:] + right[1:]:
        return None
    found = 1
    for label in dict.fromkeys(left + right):
        if (label in left, label in right, label in result) == (in_left, in_right, in_result):
            operand, labels = (0, left) if label in left else (1, right)
            size = size_of(product.inputs[operand], labels.index(label) - len(labels))
            if size is None:
                return None
            found *= size
    return found


def size_of(value: ir.Value | None, axis: int) -> int | None:
    """The size of `value` along `axis`, counted from the end (-1 is the last), also where only an exporter's Reshape
    says it; None where it is not known."""
    for _ in range(_MOST_STEPS):
        if value is None:
            return None
        shape = _shape(value)
        if shape is not None:
            size = shape[axis] if -axis <= len(shape) else None
            if isinstance(size, int):
                return size
        node = value.producer()
        if node is None or node.domain != "" or not node.inputs:
            return None
        if node.op_type == "Reshape" and len(node.inputs) == 2:
            target = small_array(node.inputs[1])
            given = int(target[axis]) if target is not None and -axis <= target.size else 0
            return given if given > 0 else None
        if node.op_type == "Transpose":
            order = node.attributes.get_ints("perm")
            if order is None or -axis > len(order):
                return None
            axis = order[axis] - len(order)
        elif node.op_type not in ("Cast", "Dropout", "Identity", "Softmax"):
            return None
        value = node.inputs[0]
    return None


def _shape(value: ir.Value) -> Sequence[object] | None:
    if value.shape is not None:
        return [size if isinstance(size, int) else None for size in value.shape]
    tensor = constant_tensor(value)
    return None if tensor is None else list(tensor.shape)
