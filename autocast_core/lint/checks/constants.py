"""Constants and epsilons that leave the range of their 16-bit type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor, small_array
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, float_type, is_cast, type_word
from autocast_core.model.tensors import chunks
from autocast_core.number_formats import LOW_DTYPES, precision_of
from autocast_core.operators.families import MOVES_ELEMENTS, is_in
from autocast_core.precision import Precision
from autocast_core.sanitize.range_repairs.softmax_ahead import leads_to_softmax

_CONVERT = "`autocast run FP32.onnx --calibration DATA`, whose rules keep such nodes in FP32"
_GUARDED = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})
_ON_THE_WAY = MOVES_ELEMENTS | {"Cast", "Sqrt", "Clip", "Max", "Abs"}
_MOST_STEPS = 6
_EXPONENTS = {ir.DataType.FLOAT16: np.uint16(0x7C00), ir.DataType.BFLOAT16: np.uint16(0x7F80)}


def _narrowed(subject: Subject) -> Iterator[tuple[str, ir.Value, ir.DataType, np.ndarray]]:
    """Every small constant that a Cast to 16 bits reads: the cast's id, the constant, the type, the elements."""
    for node, node_id in subject.ids.items():
        value = node.inputs[0] if is_cast(node) else None
        dtype = node.outputs[0].dtype if is_cast(node) else None
        if value is not None and dtype in LOW_DTYPES and value.dtype == ir.DataType.FLOAT:
            array = small_array(value)
            if array is not None and dtype is not None:
                yield node_id, value, dtype, array


def _overflowing(subject: Subject) -> Iterator[Spot]:
    for node_id, value, dtype, array in _narrowed(subject):
        beyond = int(np.count_nonzero(np.isfinite(array) & (np.abs(array) > _largest(dtype))))
        if beyond:
            detail = f"{beyond} elements of {value.name!r} become infinite in {type_word(dtype)}"
            yield Spot(node_id, f"{detail}: the largest is {float(np.abs(array).max()):.6g}")
    for value in subject.constants:
        if _has_infinity(value) and not leads_to_softmax(value):
            yield Spot(str(value.name), f"{value.name!r} holds infinity in {type_word(value.dtype)}")


def _vanishing(subject: Subject) -> Iterator[Spot]:
    for node_id, value, dtype, array in _narrowed(subject):
        lost = int(np.count_nonzero((array != 0) & (_rounded(array, dtype) == 0)))
        if lost:
            yield Spot(node_id, f"{lost} of {array.size} elements of {value.name!r} become 0 in {type_word(dtype)}")


def _largest(dtype: ir.DataType) -> float:
    precision = precision_of(dtype)
    assert precision is not None
    return precision.max


def _rounded(array: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return array.astype(dtype.numpy())


def _has_infinity(value: ir.Value) -> bool:
    """Whether a 16-bit constant holds an infinity; only the bits of exponents are looked at, and NaN counts too."""
    tensor, mask = constant_tensor(value), _EXPONENTS.get(value.dtype) if value.dtype is not None else None
    if tensor is None or mask is None:
        return False
    return any(bool(((block.view(np.uint16) & mask) == mask).any()) for block in chunks(tensor))


def _infinite_masks(subject: Subject) -> Iterator[Spot]:
    for value in subject.constants:
        if value.dtype in LOW_DTYPES and leads_to_softmax(value) and _has_infinity(value):
            detail = f"the mask {value.name!r} holds -inf in {type_word(value.dtype)}"
            yield Spot(str(value.name), detail + ": a row with every key masked gives NaN")


def _guards(subject: Subject) -> Iterator[tuple[str, ir.Node, float, ir.DataType]]:
    """Add, Max and Clip with a small constant in front of a division, root or logarithm: id, node, constant, type."""
    for node, node_id in subject.ids.items():
        if node.domain != "" or node.op_type not in ("Add", "Max", "Clip") or len(node.inputs) < 2:
            continue
        operands = node.inputs[1:2] if node.op_type == "Clip" else node.inputs
        smallest = next((number for number in map(_smallest, operands) if number is not None), None)
        dtype = float_type(node)
        if smallest is None or dtype is None or not 0 <= smallest < 1:
            continue
        narrow = _narrowest_to_guarded(node.outputs[0], dtype)
        if narrow is not None:
            yield node_id, node, smallest, narrow


def _smallest(value: ir.Value | None) -> float | None:
    array: Any = small_array(value)
    return None if array is None or array.size == 0 or array.dtype.kind in "iub" else float(array.min())


def _narrowest_to_guarded(value: ir.Value, dtype: ir.DataType) -> ir.DataType | None:
    """The narrowest type of what a guard's result becomes up to a division, root or logarithm; None without one."""
    pending = [(value, dtype, 0)]
    found: list[ir.DataType] = []
    while pending:
        each, narrow, steps = pending.pop()
        narrow = each.dtype if each.dtype in LOW_DTYPES and each.dtype is not None else narrow
        for node, index in each.uses():
            if node.domain == "" and node.op_type in _GUARDED and not (node.op_type == "Div" and index == 0):
                found.append(narrow)
            if is_in(node, _ON_THE_WAY) and index == 0 and steps < _MOST_STEPS and node.outputs:
                pending.append((node.outputs[0], narrow, steps + 1))
    return next((each for each in found if each in LOW_DTYPES), found[0] if found else None)


def _vanished_epsilons(subject: Subject) -> Iterator[Spot]:
    for node_id, node, smallest, narrow in _guards(subject):
        if narrow not in LOW_DTYPES or (node.op_type == "Max" and smallest == 0 and _is_relu(node)):
            continue
        if float(_rounded(np.array(smallest, np.float32), narrow)) == 0:
            was = "0" if smallest == 0 else f"{smallest:.3g}, which becomes 0"
            yield Spot(
                node_id, f"{node.op_type} guards a division, root or logarithm with {was} in {type_word(narrow)}"
            )


def _is_relu(node: ir.Node) -> bool:
    """Whether what follows is a root alone, for which 0 is a sound lower bound."""
    return all(use.node.op_type == "Sqrt" for use in node.outputs[0].uses())


def _subnormal_epsilons(subject: Subject) -> Iterator[Spot]:
    for node_id, node, smallest, narrow in _guards(subject):
        if narrow in LOW_DTYPES and float(_rounded(np.array(smallest, np.float32), narrow)) != 0:
            precision = precision_of(narrow)
            assert precision is not None
            if smallest < precision.smallest_normal:
                yield Spot(node_id, f"{node.op_type} guards with {smallest:.3g}, subnormal in {type_word(narrow)}")
    for node, node_id in subject.ids.items():
        epsilon = node.attributes.get("epsilon") if node.domain == "" else None
        if epsilon is None or epsilon.is_ref() or float_type(node) != ir.DataType.FLOAT16:
            continue
        smallest = Precision.FP16.smallest_normal
        if 0 < epsilon.as_float() < smallest:
            detail = f"epsilon {epsilon.as_float():.3g} is below FP16's smallest normal number, {smallest:.2g}"
            yield Spot(node_id, detail)


CONSTANTS = (
    Check(
        "AC401",
        "Constant that overflows",
        Level.ERROR,
        "infinities, and NaN where they meet",
        _CONVERT + "; masks are clamped",
        _overflowing,
    ),
    Check(
        "AC402",
        "Epsilon that vanishes",
        Level.ERROR,
        "a division by zero or the logarithm of zero: infinity or NaN",
        _CONVERT + " (rule guards)",
        _vanished_epsilons,
    ),
    Check(
        "AC403",
        "Epsilon below the smallest normal number",
        Level.NOTE,
        "up to half of it is lost to rounding, or all of it where a kernel flushes subnormal numbers to zero",
        "compute the node in FP32 (`--nodes_to_exclude`), or take a larger epsilon: 1e-5 in FP16 is 1.0014e-05",
        _subnormal_epsilons,
    ),
    Check(
        "AC404",
        "Constant that vanishes",
        Level.WARNING,
        "what it stood for is 0",
        _CONVERT,
        _vanishing,
    ),
    Check(
        "AC405",
        "Mask of infinity",
        Level.NOTE,
        "NaN in rows with every key masked",
        "`autocast run FP32.onnx --calibration DATA` guards such rows where data has them; or mask with -3e4",
        _infinite_masks,
    ),
)
