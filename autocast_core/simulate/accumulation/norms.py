"""Normalisations, reductions and softmaxes written out, each step rounded to a 16-bit type."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from autocast_core.graph.constants import small_array
from autocast_core.simulate.accumulation.sums import row_sums
from autocast_core.simulate.accumulation.tape import Tape


def layer_norm(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    """LayerNormalization, and RMSNormalization, which subtracts no mean."""
    value, axis = node.inputs[0], node.attributes.get_int("axis", -1)
    if len([output for output in node.outputs if output.uses() or output.is_graph_output()]) > 1:
        return None
    rows = tape.op("Flatten", value, attributes={"axis": axis % rank})
    normal = _normal_rows(tape, rows, _epsilon(node), dtype, centred=node.op_type != "RMSNormalization")
    assert value is not None
    return _scaled(tape, tape.reshaped(normal, tape.shape(value)), list(node.inputs[1:]), dtype)


def group_norm(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    """GroupNormalization of [n, c, ..] with a scale a channel, and InstanceNormalization, whose groups are channels."""
    value, groups = node.inputs[0], node.attributes.get_int("num_groups", 0)
    assert value is not None
    if groups and tape.opset < 21:
        return None  # the scale is one a group there
    grouped = _grouped(tape, value, groups) if groups else value
    rows = tape.op("Flatten", grouped, attributes={"axis": 2})
    normal = tape.reshaped(_normal_rows(tape, rows, _epsilon(node), dtype, centred=True), tape.shape(value))
    along = tape.ints(1, -1, *[1] * (rank - 2))
    factors = [None if each is None else tape.reshaped(each, along) for each in node.inputs[1:]]
    return _scaled(tape, normal, factors, dtype)


def _grouped(tape: Tape, value: ir.Value, groups: int) -> ir.Value:
    """[n, c, ..] as [n, groups, c / groups, ..]."""
    size = tape.op("Div", tape.shape(value, 1, 2), tape.ints(groups), dtype=ir.DataType.INT64)
    return tape.reshaped(value, tape.joined(tape.shape(value, 0, 1), tape.ints(groups), size, tape.shape(value, 2)))


def _normal_rows(tape: Tape, rows: ir.Value, epsilon: float, dtype: ir.DataType, *, centred: bool) -> ir.Value:
    """Each row of a matrix less its mean, where `centred`, over the root of its mean square."""
    if centred:
        rows = tape.rounded(tape.op("Sub", rows, _row_means(tape, rows, dtype)), dtype)
    squares = tape.rounded(tape.op("Mul", rows, rows), dtype)
    guarded = tape.op("Add", _row_means(tape, squares, dtype), tape.rounded(tape.number(epsilon), dtype))
    root = tape.rounded(tape.op("Sqrt", tape.rounded(guarded, dtype)), dtype)
    return tape.rounded(tape.op("Div", rows, root), dtype)


def _row_means(tape: Tape, rows: ir.Value, dtype: ir.DataType) -> ir.Value:
    count = tape.op("Cast", tape.shape(rows, 1, 2), attributes={"to": int(ir.DataType.FLOAT)})
    return tape.rounded(tape.op("Div", row_sums(tape, rows, dtype), count), dtype)


def _scaled(tape: Tape, value: ir.Value, factors: Sequence[ir.Value | None], dtype: ir.DataType) -> ir.Value:
    scale, bias = (*factors, None, None)[:2]
    if scale is not None:
        value = tape.op("Mul", value, scale)
    if bias is not None:
        value = tape.op("Add", tape.rounded(value, dtype), bias)
    return value


def _epsilon(node: ir.Node) -> float:
    return node.attributes.get_float("epsilon", 1e-5)


Before = Callable[[Tape, ir.Value, ir.DataType], ir.Value]


def _square(tape: Tape, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    return tape.rounded(tape.op("Mul", value, value), dtype)


def _magnitude(tape: Tape, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    return tape.op("Abs", value)


_BEFORE: dict[str, Before | None] = {
    "GlobalAveragePool": None,
    "ReduceL1": _magnitude,
    "ReduceL2": _square,
    "ReduceMean": None,
    "ReduceSum": None,
    "ReduceSumSquare": _square,
}
REDUCTIONS = frozenset(_BEFORE)


def reduction(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    """The reduction over axes that are known: the others first, then rows that are summed."""
    axes = _axes(node, rank)
    value, before = node.inputs[0], _BEFORE[node.op_type]
    if not axes or value is None:
        return None
    kept = [axis for axis in range(rank) if axis not in axes]
    turned = tape.op("Transpose", value, attributes={"perm": [*kept, *axes]})
    rows = tape.op("Flatten", turned, attributes={"axis": len(kept)})
    rows = rows if before is None else before(tape, rows, dtype)
    is_mean = node.op_type in ("ReduceMean", "GlobalAveragePool")
    sums = _row_means(tape, rows, dtype) if is_mean else row_sums(tape, rows, dtype)
    sums = tape.op("Sqrt", sums) if node.op_type == "ReduceL2" else sums
    sizes = [tape.ints(1) if axis in axes else tape.shape(value, axis, axis + 1) for axis in range(rank)]
    if node.attributes.get_int("keepdims", 1) == 0:
        sizes = [tape.shape(value, axis, axis + 1) for axis in kept]
    return tape.reshaped(
        sums, tape.joined(*sizes) if sizes else tape.op("Shape", tape.number(0), dtype=ir.DataType.INT64)
    )


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    """The axes, from the front; None where they are not known."""
    if node.op_type == "GlobalAveragePool":
        return list(range(2, rank))
    given = node.attributes.get_ints("axes")
    if given is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        array = small_array(node.inputs[1])
        if array is None:
            return None
        given = [int(axis) for axis in array.reshape(-1)]
    if not given:
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(axis % rank for axis in given)


def log_softmax(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value:
    """Softmax, rounded, then its logarithm."""
    attributes: dict[str, object] = {"axis": node.attributes.get_int("axis", -1)}
    return tape.op("Log", tape.rounded(tape.op("Softmax", node.inputs[0], attributes=attributes), dtype))


def softmax(tape: Tape, node: ir.Node, rank: int, dtype: ir.DataType) -> ir.Value | None:
    """Along the last axis, with exponentials and their sum in the type."""
    value, axis = node.inputs[0], node.attributes.get_int("axis", -1)
    if axis % rank != rank - 1 or value is None:
        return None
    rows = tape.op("Flatten", value, attributes={"axis": rank - 1})
    ahead = tape.op("Sub", rows, tape.largest(rows, -1))
    powers = tape.rounded(tape.op("Exp", ahead), dtype)
    return tape.reshaped(tape.op("Div", powers, row_sums(tape, powers, dtype)), tape.shape(value))
