"""Constants that leave the range of their 16-bit type, and masks of infinity."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from autocast_core.lint.checks.infinity import What, what_takes_infinity
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, elements_of, is_cast, type_word
from autocast_core.model.tensors import chunks
from autocast_core.number_formats import FLOAT_DTYPES, INDEX_DTYPES, LOW_DTYPES
from autocast_core.operators.families import is_in

_CONVERT = "`autocast run FP32.onnx --calibration DATA`, whose rules keep such nodes in FP32"
_EXPONENTS = {ir.DataType.FLOAT16: np.uint16(0x7C00), ir.DataType.BFLOAT16: np.uint16(0x7F80)}


class _Narrowed(NamedTuple):
    """A Cast to 16 bits of a constant, also of one that layout hands on: its id, its result, and what it reads, with
    the name of that (of the value where the tensor has none)."""

    node_id: str
    result: ir.Value
    tensor: ir.TensorProtocol
    name: str


def _narrowed(subject: Subject) -> Iterator[_Narrowed]:
    for node, node_id in subject.ids.items():
        value = node.inputs[0] if is_cast(node) else None
        if value is None or node.outputs[0].dtype not in LOW_DTYPES:
            continue
        tensor = elements_of(value)
        if tensor is not None and tensor.dtype in FLOAT_DTYPES | INDEX_DTYPES and tensor.dtype not in LOW_DTYPES:
            yield _Narrowed(node_id, node.outputs[0], tensor, tensor.name or str(value.name))


def _overflowing(subject: Subject) -> Iterator[Spot]:
    for node_id, result, tensor, name in _narrowed(subject):
        beyond, greatest = _beyond(result, tensor)
        if beyond and what_takes_infinity(result) is What.COMPUTES:
            detail = f"{beyond} of {tensor.size} elements of {name!r} become infinite in {type_word(result.dtype)}"
            yield Spot(node_id, f"{detail}: the largest is {greatest:.6g}")
    for value in _infinite(subject):
        if what_takes_infinity(value) is What.COMPUTES:
            yield Spot(str(value.name), f"{value.name!r} holds infinity in {type_word(value.dtype)}")


def _beyond(result: ir.Value, tensor: ir.TensorProtocol) -> tuple[int, float]:
    """How many finite elements become infinite in the type of `result`, and the largest of all finite ones."""
    beyond, greatest = 0, 0.0
    for block in chunks(tensor):
        finite = np.isfinite(block)
        beyond += int(np.count_nonzero(finite & np.isinf(_rounded(block, result.dtype))))
        greatest = max(greatest, float(np.abs(block[finite], dtype=np.float64).max(initial=0)))
    return beyond, greatest


def _vanishing(subject: Subject) -> Iterator[Spot]:
    for node_id, result, tensor, name in _narrowed(subject):
        lost = sum(int(np.count_nonzero((b != 0) & (_rounded(b, result.dtype) == 0))) for b in chunks(tensor))
        if lost:
            word = type_word(result.dtype)
            yield Spot(node_id, f"{lost} of {tensor.size} elements of {name!r} become 0 in {word}")


def _rounded(block: np.ndarray, dtype: ir.DataType | None) -> np.ndarray:
    assert dtype is not None
    with np.errstate(over="ignore", under="ignore"):
        return block.astype(dtype.numpy())


def _infinite(subject: Subject) -> Iterator[ir.Value]:
    """The 16-bit constants that hold an infinity, and results of ConstantOfShape."""
    filled = (node.outputs[0] for node in subject.ids if is_in(node, frozenset({"ConstantOfShape"})))
    yield from (value for value in (*subject.constants, *filled) if _has_infinity(value))


def _has_infinity(value: ir.Value) -> bool:
    """Whether a 16-bit constant holds an infinity; only the bits of exponents are looked at, and NaN counts too."""
    mask = _EXPONENTS.get(value.dtype) if value.dtype is not None else None
    tensor = elements_of(value) if mask is not None else None
    if tensor is None or mask is None:
        return False
    return any(bool(((block.view(np.uint16) & mask) == mask).any()) for block in chunks(tensor))


def _infinite_masks(subject: Subject) -> Iterator[Spot]:
    for value in _infinite(subject):
        if what_takes_infinity(value) is What.MASKS:
            yield Spot(str(value.name), _masked(f"the mask {value.name!r} holds -inf in {type_word(value.dtype)}"))
    for node_id, result, tensor, name in _narrowed(subject):
        if what_takes_infinity(result) is What.MASKS and any(
            bool(np.isinf(_rounded(block, result.dtype)).any()) for block in chunks(tensor)
        ):
            yield Spot(node_id, _masked(f"the mask {name!r} becomes -inf in {type_word(result.dtype)}"))


def _masked(what: str) -> str:
    return f"{what}: a row with every key masked gives NaN"


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
        "mask with -3e4; `autocast run FP32.onnx --calibration DATA` clamps a mask that is finite in FP32",
        _infinite_masks,
    ),
)
