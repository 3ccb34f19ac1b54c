"""Weights that the file holds more than once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from autocast_core.graph.constants import SMALL_TENSOR_BYTES, constant_tensor, stored_bytes
from autocast_core.lint.finding import Check, Level, Spot
from autocast_core.lint.subject import Subject, type_word
from autocast_core.model.tensors import ConvertedTensor, chunks
from autocast_core.number_formats import LOW_DTYPES

_SAMPLE = 256


def _stored_twice(subject: Subject) -> Iterator[Spot]:
    """Compares weights of one size by the signs of their first elements, and alike ones in whole."""
    by_sample: dict[tuple[object, ...], list[ir.Value]] = defaultdict(list)
    for value in subject.constants:
        tensor = constant_tensor(value)
        if tensor is not None and stored_bytes(tensor) > SMALL_TENSOR_BYTES and tensor.size:
            by_sample[tensor.size, _sample(tensor)].append(value)
    for alike in by_sample.values():
        yield from _duplicates(alike)


def _duplicates(alike: list[ir.Value]) -> Iterator[Spot]:
    kept: list[ir.Value] = []
    for value in alike:
        first = next((each for each in kept if _same(each, value)), None)
        if first is None:
            kept.append(value)
        else:
            tensor, other = constant_tensor(value), constant_tensor(first)
            assert tensor is not None and other is not None
            detail = f"{value.name!r} in {type_word(value.dtype)} holds the numbers of {first.name!r}"
            detail += "" if first.dtype == value.dtype else f" in {type_word(first.dtype)}"
            yield Spot(str(value.name), detail, min(stored_bytes(tensor), stored_bytes(other)))


def _sample(tensor: ir.TensorProtocol) -> bytes:
    """The signs of the first elements, which rounding keeps: equal in every float type."""
    signs: np.ndarray = np.signbit(next(iter(chunks(tensor, _SAMPLE))))
    return signs.tobytes()


def _same(first: ir.Value, second: ir.Value) -> bool:
    """Whether both hold the same numbers, as far as the narrower type can."""
    one, other = constant_tensor(first), constant_tensor(second)
    assert one is not None and other is not None
    if one.dtype == other.dtype:
        return all(np.array_equal(a, b) for a, b in zip(chunks(one), chunks(other), strict=True))
    wide, narrow = (one, other) if one.dtype.bitwidth > other.dtype.bitwidth else (other, one)
    if wide.dtype in LOW_DTYPES:
        return False
    converted = ConvertedTensor(wide, narrow.dtype)
    return all(np.array_equal(a, b) for a, b in zip(chunks(converted), chunks(narrow), strict=True))


WEIGHTS = (
    Check(
        "AC601",
        "Weight stored twice",
        Level.WARNING,
        "the file, and the engine's memory, hold the bytes twice",
        "let both nodes read one: `onnxsim MODEL MODEL` does; of two types cast one: `autocast run FP32.onnx` does",
        _stored_twice,
    ),
)
