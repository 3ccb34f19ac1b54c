"""Nodes in 16 bits whose insides a strongly typed engine may compute in 16 bits too: sums, norms, recurrences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from autocast_core.graph.constants import small_array
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, float_type, is_cast, type_word
from autocast_core.number_formats import LOW_DTYPES
from autocast_core.operators.families import MOVES_ELEMENTS, is_in
from autocast_core.operators.insides import NORMALIZATIONS, RECURRENT, SUMS

_MANY = 65504
"""So many ones add up to FP16's largest number."""
_LOST = {
    ir.DataType.FLOAT16: "probabilities below 6e-8 are 0",
    ir.DataType.BFLOAT16: "logarithms of probabilities near 1 are lost",
}
_UPCAST = (
    "convert anew with `--nodes_to_exclude NAME` (the id without graph/) or `--op_types_to_exclude OP`, which cast "
)
_UPCAST += "its input to FP32: inside a kernel that costs nothing"


def _low(subject: Subject, operators: frozenset[str]) -> Iterator[tuple[ir.Node, str, ir.DataType]]:
    for node, node_id in subject.ids.items():
        dtype = float_type(node) if node.op_type in operators and node.inputs else None
        if dtype in LOW_DTYPES and dtype is not None:
            yield node, node_id, dtype


def _norms(subject: Subject) -> Iterator[Spot]:
    for node, node_id, dtype in _low(subject, NORMALIZATIONS):
        detail = f"{node.op_type} in {type_word(dtype)}: mean, squares and their sum may be {type_word(dtype)} too"
        yield Spot(node_id, detail)


def _sums(subject: Subject) -> Iterator[Spot]:
    for node, node_id, dtype in _low(subject, SUMS):
        count = addends(node)
        if count == 1:
            continue
        if count is None or count < _MANY or dtype != ir.DataType.FLOAT16:
            known = "" if count is None else f" of {count} elements"
            yield Spot(node_id, f"{node.op_type}{known} in {type_word(dtype)}: the sum may be {type_word(dtype)} too")


def _long_sums(subject: Subject) -> Iterator[Spot]:
    for node, node_id, dtype in _low(subject, SUMS | {"AveragePool"}):
        count = addends(node)
        if count is not None and count >= _MANY and dtype == ir.DataType.FLOAT16:
            yield Spot(node_id, f"{node.op_type} adds {count} elements: beyond FP16 where they average 1")


def addends(node: ir.Node) -> int | None:
    """How many elements each sum of a reduction adds; None where shapes do not tell."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        return None
    sizes = [size if isinstance(size, int) else None for size in value.shape]
    if node.op_type == "AveragePool":
        window: tuple[int, ...] = tuple(node.attributes.get_ints("kernel_shape") or ())
        return math.prod(window)
    axes = _axes(node, len(sizes))
    if axes is None:
        return None
    found = 1
    for axis in axes:
        size = sizes[axis] if -len(sizes) <= axis < len(sizes) else None
        if size is None:
            return None
        found *= size
    return found


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    """The axes that are summed over; None where the model computes them."""
    if node.op_type == "GlobalAveragePool":
        return list(range(2, rank))
    given = node.attributes.get("axes")
    if given is not None and not given.is_ref():
        return [int(axis) for axis in given.as_ints()]
    operand = node.inputs[1] if len(node.inputs) > 1 else None
    if operand is None:
        return [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(rank))
    array = small_array(operand)
    return None if array is None else [int(axis) for axis in array.reshape(-1)]


def _log_softmax(subject: Subject) -> Iterator[Spot]:
    for _, node_id, dtype in _low(subject, frozenset({"LogSoftmax"})):
        yield Spot(node_id, f"LogSoftmax in {type_word(dtype)}: engines compute Softmax, then Log of what may be 0")
    for node, node_id in subject.ids.items():
        if is_in(node, frozenset({"Log"})):
            maker, values = _made_from(node.inputs[0])
            low = next((value.dtype for value in values if value.dtype in LOW_DTYPES), None)
            if low is not None and maker is not None and is_in(maker, frozenset({"Softmax"})):
                yield Spot(node_id, f"Log of the Softmax {subject.ids[maker]!r} in {type_word(low)}: {_LOST[low]}")


def _made_from(value: ir.Value | None) -> tuple[ir.Node | None, list[ir.Value]]:
    """The node in front of all casts and layout, and the values from it on."""
    values: list[ir.Value] = []
    while value is not None:
        values.append(value)
        node = value.producer()
        if node is None or not (is_cast(node) or is_in(node, MOVES_ELEMENTS)) or not node.inputs:
            return node, values
        value = node.inputs[0]
    return None, values


def _recurrent(subject: Subject) -> Iterator[Spot]:
    for node, node_id, dtype in _low(subject, RECURRENT):
        yield Spot(node_id, f"{node.op_type} in {type_word(dtype)}: its state is {type_word(dtype)} in every step")


INSIDES = (
    Check(
        "AC501",
        "Normalisation in 16 bits",
        Level.NOTE,
        "with channels of ±300 LayerNormalization fell from 65.9 to 0.1 dB (emulated): stash_type may not be honoured",
        _UPCAST,
        _norms,
    ),
    Check(
        "AC502",
        "Sum in 16 bits",
        Level.NOTE,
        "each addition rounds to 16 bits where the kernel accumulates so",
        _UPCAST,
        _sums,
    ),
    Check(
        "AC503",
        "Sum of so many elements that FP16 may overflow",
        Level.WARNING,
        "infinity where the kernel accumulates in FP16, although the mean itself is small",
        _UPCAST,
        _long_sums,
    ),
    Check(
        "AC504",
        "LogSoftmax in 16 bits",
        Level.WARNING,
        "minus infinity for unlikely classes: 200 classes fell from 71.7 dB to -inf (emulated)",
        "convert anew with `--op_types_to_exclude LogSoftmax`, or with both Softmax and Log in `--nodes_to_exclude`",
        _log_softmax,
    ),
    Check(
        "AC505",
        "Recurrence in 16 bits",
        Level.NOTE,
        "errors of the state add up: 2,000 steps of an integrating LSTM fell from 73.4 to 16.7 dB (emulated)",
        _UPCAST,
        _recurrent,
    ),
)
