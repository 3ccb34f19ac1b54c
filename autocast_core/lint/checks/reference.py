"""Weights and constants beside those of the FP32 original."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.lint.checks.infinity import What, what_takes_infinity
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, type_word
from autocast_core.model.tensors import chunks
from autocast_core.number_formats import LOW_DTYPES

_CONVERT = "`autocast run FP32.onnx --calibration DATA`, which keeps their nodes in FP32 where it matters"
_SHARE = 1e-3
"""Share of a weight's norm that may vanish unsaid: FP16's own rounding changes about 3e-4 of it."""


def _pairs(subject: Subject) -> Iterator[tuple[ir.Value, ir.TensorProtocol, ir.TensorProtocol]]:
    """Every 16-bit constant with the FP32 one of that name and shape: value, 16-bit tensor, FP32 tensor."""
    if subject.reference is None:
        return
    originals = dict(_by_name(subject.reference))
    for value in subject.constants:
        low, original = constant_tensor(value), originals.get(str(value.name))
        if low is None or original is None or low.dtype not in LOW_DTYPES:
            continue
        if original.dtype == ir.DataType.FLOAT and list(low.shape) == list(original.shape):
            yield value, low, original


def compares_nothing(subject: Subject) -> bool:
    """Whether a reference is given, and none of the model's 16-bit constants can be compared with one there."""
    has_low = any(value.dtype in LOW_DTYPES for value in subject.constants)
    return subject.reference is not None and has_low and next(_pairs(subject), None) is None


def _by_name(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtocol]]:
    for graph in all_graphs(model.graph):
        for value in graph.initializers.values():
            tensor = constant_tensor(value)
            if tensor is not None:
                yield str(value.name), tensor
    for node in all_nodes(model.graph):
        tensor = constant_tensor(node.outputs[0]) if node.op_type == "Constant" else None
        if tensor is not None:
            yield str(node.outputs[0].name), tensor


def _vanished(subject: Subject) -> Iterator[Spot]:
    for value, low, original in _pairs(subject):
        lost, norm, count = 0.0, 0.0, 0
        for narrow, wide in zip(chunks(low), chunks(original), strict=True):
            squares = np.square(wide, dtype=np.float64)
            gone = (narrow == 0) & (wide != 0)
            count += int(np.count_nonzero(gone))
            lost, norm = lost + float(squares[gone].sum()), norm + float(squares.sum())
        if count and lost > _SHARE**2 * norm:
            share = f"{count} of {low.size} elements are 0 in {type_word(low.dtype)} and are not in the FP32 model"
            yield Spot(str(value.name), f"{share}: {np.sqrt(lost / norm):.2g} of its norm")


def _clamped(subject: Subject) -> Iterator[Spot]:
    for value, low, original in _pairs(subject):
        largest = float(np.finfo(np.float16).max) if low.dtype == ir.DataType.FLOAT16 else float("inf")
        if what_takes_infinity(value, may_be_factor=_is_clamped_mask(low, original, largest)) is not What.COMPUTES:
            continue  # a mask or a bound, which is clamped on purpose
        beyond, greatest = 0, 0.0
        for wide in chunks(original):
            finite = np.abs(wide[np.isfinite(wide)])
            beyond += int(np.count_nonzero(finite > largest))
            greatest = max(greatest, float(finite.max(initial=0)))
        if beyond:
            detail = f"{beyond} elements are beyond {type_word(low.dtype)} in the FP32 model, up to {greatest:.6g}"
            yield Spot(str(value.name), detail)


def _is_clamped_mask(low: ir.TensorProtocol, original: ir.TensorProtocol, largest: float) -> bool:
    """Whether a single number may mask as a factor, (1 - mask) times -3.4e38: below -`largest`, and finite in `low`."""
    if original.size != 1:
        return False
    return original.numpy().item() < -largest and bool(np.isfinite(low.numpy().astype(np.float32)).all())


REFERENCE = (
    Check(
        "AC406",
        "Weight that vanishes",
        Level.WARNING,
        "what these elements contributed is missing",
        _CONVERT,
        _vanished,
        needs_reference=True,
    ),
    Check(
        "AC407",
        "Weight beyond the 16-bit type",
        Level.ERROR,
        "these elements are the largest number of their type, or infinite",
        _CONVERT + ", or `--precision bf16`",
        _clamped,
        needs_reference=True,
    ),
)
