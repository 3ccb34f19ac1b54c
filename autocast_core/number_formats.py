"""Every fact about the number formats that a conversion chooses between, and the element types that belong to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from autocast_core.precision import Precision


@dataclass(frozen=True)
class NumberFormat:
    """The element types in ONNX and numpy, the largest finite and the smallest normal value, and the unit roundoff: the
    largest relative error of rounding to a normal value, 2^-p of p significant bits."""

    dtype: ir.DataType
    numpy: np.dtype
    max: float
    smallest_normal: float
    unit_roundoff: float


def _number_format(dtype: ir.DataType, scalar: type[np.generic]) -> NumberFormat:
    facts = ml_dtypes.finfo(scalar)  # type: ignore[no-untyped-call]
    smallest, roundoff = float(facts.smallest_normal), float(facts.eps) / 2
    return NumberFormat(dtype, np.dtype(scalar), float(facts.max), smallest, roundoff)


NUMBER_FORMATS: Mapping[Precision, NumberFormat] = {
    Precision.FP32: _number_format(ir.DataType.FLOAT, np.float32),
    Precision.FP16: _number_format(ir.DataType.FLOAT16, np.float16),
    Precision.BF16: _number_format(ir.DataType.BFLOAT16, ml_dtypes.bfloat16),
}
LOW_DTYPES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
"""The element types of the 16-bit precisions."""
PRECISION_DTYPES = LOW_DTYPES | {ir.DataType.FLOAT}
"""The element types of all precisions: what a plan decides between."""
INDEX_DTYPES = frozenset({ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT32, ir.DataType.UINT64})
"""The element types of what counts, measures lengths or points to elements; smaller ones are of images and quantized
numbers."""
FLOAT_DTYPES = PRECISION_DTYPES | {ir.DataType.DOUBLE}
"""The element types between which tensors are converted: those of the precisions, and FP64 in source models."""


def precision_of(dtype: ir.DataType) -> Precision | None:
    """The precision whose element type is `dtype`, or None for any other type."""
    return next((precision for precision, found in NUMBER_FORMATS.items() if found.dtype == dtype), None)
