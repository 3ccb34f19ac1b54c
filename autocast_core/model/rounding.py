"""Rounding blocks of numbers to another floating-point type: to nearest even, saturating.

A finite value beyond the target's range becomes its largest finite value with the sign kept; NaN and infinity stay
what they are; a value too small becomes a zero with the sign kept. IEEE 754-2019 §4.3.1, but for saturation.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import ml_dtypes
import numpy as np

RoundBlock = Callable[[np.ndarray, np.ndarray], None]
"""Rounds a contiguous 1-d block into an array of the target type, to nearest even; beyond its range to infinity."""

_WORTHWHILE = 4096
_MAGNITUDE = 0x7FFFFFFF
_FIRST_INFINITE = 0x477FF000  # the bits of 65520, which rounds beyond 65504

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
_INFINITY = MappingProxyType({np.dtype(np.float16): 0x7C00, _BFLOAT16: 0x7F80})
"""The bits of infinity, which those of NaN exceed."""


def round_block(source: np.ndarray, target: np.ndarray) -> None:
    """The default RoundBlock: numpy's and ml_dtypes' conversions, and a faster one of our own with the same bits."""
    if source.dtype == np.float32 and target.dtype == np.float16 and source.size >= _WORTHWHILE:
        magnitude = source.view(np.uint32) & _MAGNITUDE
        if magnitude.max() < _FIRST_INFINITE:
            _round_to_half(source.view(np.uint32), magnitude, target)
            return
    if target.dtype == _BFLOAT16 and source.dtype == np.float64:
        source = _to_odd(source)  # ml_dtypes goes by float32, and rounding twice is not rounding once
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(target, source, casting="unsafe")


def saturating(source: np.ndarray, target: np.ndarray, rounded_by: RoundBlock = round_block) -> None:
    """Round `source` into `target` (both 1-d, of one size), finite values beyond the range becoming +-max."""
    rounded_by(source, target)
    if target.dtype.itemsize >= source.dtype.itemsize or not _has_nonfinite(target):
        return
    with np.errstate(invalid="ignore"):
        overflowed = np.isfinite(source) & np.isinf(target)
    largest = ml_dtypes.finfo(target.dtype).max  # type: ignore[no-untyped-call]
    target[overflowed] = np.where(np.signbit(source[overflowed]), -largest, largest)


def _has_nonfinite(block: np.ndarray) -> bool:
    infinity = _INFINITY.get(block.dtype)
    if infinity is None:
        return not np.isfinite(block).all()
    return bool(block.size) and bool((block.view(np.uint16) & 0x7FFF).max() >= infinity)


def half_magnitudes(magnitude: np.ndarray) -> np.ndarray:
    """What FP16 makes of the float32 numbers `magnitude`, none negative, each below 65520: as float32, which holds it
    exactly."""
    shift = _shift(magnitude.view(np.uint32)).view(np.float32)
    return (magnitude + shift) - shift


def _shift(bits: np.ndarray) -> np.ndarray:
    """The bits of 2**(exponent + 13) for float32 `bits`.

    Adding that leaves the FPU's rounding to nearest even at the last bit of a half; the exponent is floored at the one
    of the smallest normal half, so that subnormals round at theirs.
    """
    raised: np.ndarray = np.maximum(bits & 0x7F800000, 113 << 23) + (13 << 23)
    return raised


def _round_to_half(bits: np.ndarray, magnitude: np.ndarray, target: np.ndarray) -> None:
    """float32 `bits` below 65520 to float16, by whole-array operations; `magnitude` (bits without sign) is used up."""
    shift = _shift(bits)
    exponent = shift - (13 << 23)
    np.add(magnitude.view(np.float32), shift.view(np.float32), out=magnitude.view(np.float32))
    np.subtract(magnitude, shift, out=magnitude)  # the significand as an integer, with its leading one
    np.right_shift(exponent, 13, out=exponent)
    np.add(magnitude, exponent, out=magnitude)
    np.subtract(magnitude, 113 << 10, out=magnitude)
    np.right_shift(bits, 16, out=shift)
    np.bitwise_and(shift, 0x8000, out=shift)
    np.bitwise_or(magnitude, shift, out=magnitude)
    np.copyto(target.view(np.uint16), magnitude, casting="unsafe")


def _to_odd(source: np.ndarray) -> np.ndarray:
    """float64 to float32 so that a second rounding, to fewer bits, is right: inexact results get an odd last bit.

    Boldo and Melquiond, "When double rounding is odd", 2005.
    """
    with np.errstate(over="ignore"):
        nearest = source.astype(np.float32)
    finite = np.isfinite(source)
    beyond = finite & (np.abs(nearest.astype(np.float64)) > np.abs(source))
    toward_zero = np.where(beyond, np.nextafter(nearest, np.float32(0)), nearest)
    inexact = finite & (toward_zero.astype(np.float64) != source)
    odd: np.ndarray = toward_zero.view(np.uint32) | inexact.astype(np.uint32)
    return odd.view(np.float32)
