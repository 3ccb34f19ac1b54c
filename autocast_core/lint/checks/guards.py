"""Epsilons that vanish in 16 bits, or come near to it: in front of divisions, roots and logarithms, and in norms."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from autocast_core.graph.constants import SMALL_TENSOR_BYTES, scalar, stored_bytes
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import CASTS, Subject, elements_of, float_type, type_word
from autocast_core.number_formats import FLOAT_DTYPES, LOW_DTYPES, precision_of
from autocast_core.operators.families import MOVES_ELEMENTS, is_in
from autocast_core.operators.insides import NORMALIZATIONS
from autocast_core.precision import Precision

_GUARDS = frozenset({"Add", "Max", "Clip"})
_GUARDED = frozenset({"Div", "Log", "Pow", "Reciprocal", "Sqrt"})
_ON_THE_WAY = MOVES_ELEMENTS | {"Cast", "Sqrt", "Clip", "Max", "Abs"}
_MOST_STEPS = 6
_NORMS = NORMALIZATIONS | {"BatchNormalization"}


def _guards(subject: Subject) -> Iterator[tuple[str, ir.Node, float, ir.DataType]]:
    """Add, Max and Clip with a small constant in front of a division, root or logarithm that reads 16 bits: id, node,
    the number as it becomes 16 bits, the type."""
    for node, node_id in subject.ids.items():
        smallest, dtype = _smallest_added(node) if is_in(node, _GUARDS) else None, float_type(node)
        if smallest is None or dtype is None or not 0 <= smallest < 1:
            continue
        narrowed = _narrowed_to_guarded(node, smallest)
        if narrowed is not None:
            yield node_id, node, *narrowed


def _smallest_added(node: ir.Node) -> float | None:
    """The smallest element of the constant that is added, or is the lower bound; None where none is constant."""
    bound = node.attributes.get("min")  # of Clip, up to opset 10
    if bound is not None and not bound.is_ref():
        return bound.as_float()
    operands = node.inputs[1:2] if node.op_type == "Clip" else node.inputs
    return next((number for number in map(_smallest, operands) if number is not None), None)


def _smallest(value: ir.Value | None) -> float | None:
    tensor = elements_of(value, MOVES_ELEMENTS | CASTS)
    if tensor is None or tensor.dtype not in FLOAT_DTYPES or not 0 < stored_bytes(tensor) <= SMALL_TENSOR_BYTES:
        return None
    return float(tensor.numpy().min())


def _narrowed_to_guarded(guard: ir.Node, smallest: float) -> tuple[float, ir.DataType] | None:
    """The least number of a guard's result where it becomes 16 bits (`smallest`, or its root), and that type, in front
    of a division, root or logarithm; None without one.

    A lower bound is no guard of a root alone, for which 0 is a sound one.
    """
    pending: deque[tuple[ir.Value, float, ir.DataType | None, int]] = deque([(guard.outputs[0], smallest, None, 0)])
    seen: set[tuple[ir.Value, float, ir.DataType | None]] = set()
    while pending:
        value, number, narrow, steps = pending.popleft()
        if (value, number, narrow) in seen:
            continue
        seen.add((value, number, narrow))
        narrow = value.dtype if narrow is None and value.dtype in LOW_DTYPES else narrow
        for node, index in value.uses():
            is_root = is_in(node, frozenset({"Sqrt"}))
            if narrow is not None and _is_guarded(node, index) and not (is_root and guard.op_type != "Add"):
                return number, narrow
            if is_in(node, _ON_THE_WAY) and (index == 0 or node.op_type == "Max") and steps < _MOST_STEPS:
                least = math.sqrt(number) if is_root and narrow is None else number
                pending += [(result, least, narrow, steps + 1) for result in node.outputs[:1]]
    return None


def _is_guarded(node: ir.Node, index: int) -> bool:
    """Whether the node gives infinity or NaN where its operand `index` is 0 or less."""
    if node.op_type == "Pow":
        exponent = scalar(node.inputs[1]) if len(node.inputs) > 1 else None
        return index == 0 and is_in(node, _GUARDED) and (exponent is None or exponent < 0 or not exponent.is_integer())
    return is_in(node, _GUARDED) and not (node.op_type == "Div" and index == 0)


def _rounded(number: float, dtype: ir.DataType) -> float:
    return float(np.array(number, np.float32).astype(dtype.numpy()))


def _vanished_epsilons(subject: Subject) -> Iterator[Spot]:
    for node_id, node, smallest, narrow in _guards(subject):
        if _rounded(smallest, narrow) == 0:
            was = "0" if smallest == 0 else f"{smallest:.3g}, which becomes 0"
            yield Spot(
                node_id, f"{node.op_type} guards a division, root or logarithm with {was} in {type_word(narrow)}"
            )


def _subnormal_epsilons(subject: Subject) -> Iterator[Spot]:
    for node_id, node, smallest, narrow in _guards(subject):
        precision = precision_of(narrow)
        assert precision is not None
        if _rounded(smallest, narrow) != 0 and smallest < precision.smallest_normal:
            yield Spot(node_id, f"{node.op_type} guards with {smallest:.3g}, subnormal in {type_word(narrow)}")
    opset = subject.model.opset_imports.get("", 1)
    for node, node_id in subject.ids.items():
        epsilon = _epsilon(node, opset) if float_type(node) == ir.DataType.FLOAT16 else None
        smallest = Precision.FP16.smallest_normal
        if epsilon is not None and 0 < epsilon < smallest:
            yield Spot(node_id, f"epsilon {epsilon:.3g} is below FP16's smallest normal number, {smallest:.2g}")


def _epsilon(node: ir.Node, opset: int) -> float | None:
    """The epsilon of a normalisation, or its operator's default; None for other operators."""
    if node.op_type not in _NORMS:
        return None
    given = node.attributes.get("epsilon")
    if given is not None:
        return None if given.is_ref() else given.as_float()
    if node.domain != "" or not onnx.defs.has(node.op_type, opset):
        return None
    default = onnx.defs.get_schema(node.op_type, opset).attributes.get("epsilon")
    return None if default is None else float(default.default_value.f)


GUARDS = (
    Check(
        "AC402",
        "Epsilon that vanishes",
        Level.ERROR,
        "a division by zero or the logarithm of zero: infinity or NaN",
        "`autocast run FP32.onnx --calibration DATA`, whose rules keep such nodes in FP32 (rule guards)",
        _vanished_epsilons,
    ),
    Check(
        "AC403",
        "Epsilon below the smallest normal number",
        Level.NOTE,
        "up to half of it is lost to rounding, or all of it where a kernel flushes subnormal numbers to zero",
        "convert anew with `--nodes_to_exclude NAME` (the id without graph/), or take a larger epsilon",
        _subnormal_epsilons,
    ),
)
