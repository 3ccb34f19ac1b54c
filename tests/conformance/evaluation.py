"""Runs a small model on a CPU and compares outputs.

There are three engines. ONNX Runtime computes 16-bit models in FP32 and has hardly any BF16 kernel; ONNX's reference
evaluator computes them in 16 bits, sums included, and lacks some operators; the simulation is the converted model as an
FP32 graph that rounds wherever the model stores 16 bits, run by ONNX Runtime.
"""

from __future__ import annotations

import copy
import ctypes
import warnings
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx.helper import tensor_dtype_to_np_dtype
from onnx.reference import ReferenceEvaluator

from autocast_core.model import load_proto
from autocast_core.simulate import simulate

ENGINES = ("onnxruntime", "reference", "simulation")
BF16 = np.dtype(ml_dtypes.bfloat16)


def run(engine: str, model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any] | None:
    """The outputs of `model`, None where `engine` cannot run it (it lacks an operator or a type).

    `feeds` are cast to the types of the model's inputs.
    """
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            if engine == "simulation":
                model = ir.serde.serialize_model(simulate(load_proto(model)))
            known = [value for value in model.graph.input if value.name in feeds]
            typed = {value.name: _as_type(feeds[value.name], value.type) for value in known}
            return _reference(model, typed) if engine == "reference" else _onnxruntime(model, typed)
    except Exception:  # the evaluators raise all kinds; their gaps are counted, they are no defects of a converter
        return None


def rounded(feeds: Mapping[str, Any], low: np.dtype) -> dict[str, Any]:
    """The feeds with every FP32 array rounded to `low` and back."""
    return {name: _rounded(item, low) for name, item in feeds.items()}


def close(expected: Any, actual: Any, tolerance: float, codes: int = 0) -> bool:
    """Whether all finite elements agree within `tolerance` times the largest magnitude of `expected`, integers within
    `codes`, and NaN, infinities, booleans and strings exactly; sequences element by element."""
    if isinstance(expected, list | tuple):
        return (
            isinstance(actual, list | tuple)
            and len(expected) == len(actual)
            and all(close(a, b, tolerance, codes) for a, b in zip(expected, actual, strict=True))
        )
    if expected is None or actual is None:
        return expected is None and actual is None
    left, right = np.asarray(expected), np.asarray(actual)
    if left.shape != right.shape:
        return False
    if not (_is_float(left.dtype) and _is_float(right.dtype)):
        return left.dtype == right.dtype and _identical(left, right, codes)
    left, right = left.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return False
    scale = float(np.max(np.abs(left[finite]), initial=0.0))
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(left[finite] - right[finite]) <= tolerance * scale))


def _identical(left: np.ndarray, right: np.ndarray, codes: int) -> bool:
    """Element by element, integers within `codes`, a NaN of an 8-bit float being itself."""
    if codes and left.dtype.kind in "iu":
        return bool(np.all(np.abs(left.astype(np.int64) - right.astype(np.int64)) <= codes))
    with np.errstate(invalid="ignore"):
        return bool(np.all((left == right) | ((left != left) & (right != right))))


def _is_float(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype == BF16


def _rounded(item: Any, low: np.dtype) -> Any:
    if isinstance(item, list):
        return [_rounded(each, low) for each in item]
    if isinstance(item, np.ndarray | np.generic) and item.dtype == np.float32:
        with np.errstate(over="ignore"):
            return item.astype(low).astype(np.float32)
    return item


def _as_type(item: Any, kind: onnx.TypeProto) -> Any:
    if isinstance(item, list):
        inner = kind.optional_type.elem_type if kind.HasField("optional_type") else kind
        return [_as_type(each, inner.sequence_type.elem_type) for each in item]
    if kind.HasField("optional_type"):
        return None if item is None else _as_type(item, kind.optional_type.elem_type)
    if not isinstance(item, np.ndarray | np.generic):
        return item
    dtype = tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
    if not (_is_float(item.dtype) and _is_float(dtype)):
        return item
    with np.errstate(over="ignore"):
        return item.astype(dtype)


def _onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    exotic = any(
        "bfloat16" in each.type or "float8" in each.type for each in (*session.get_inputs(), *session.get_outputs())
    )
    if not exotic or any(isinstance(item, list) or item is None for item in feeds.values()):
        return session.run(None, dict(feeds))
    values = {name: _to_ort(np.asarray(item)) for name, item in feeds.items()}
    outputs = session.run_with_ort_values(None, values)
    # Copied while the inputs are alive: an output may be the memory of an input.
    return [copy.deepcopy(_from_ort(value)) for value in outputs]


def _to_ort(array: np.ndarray) -> onnxruntime.OrtValue:
    if array.dtype.isbuiltin == 1:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array)
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(
        bits, onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    )


def _from_ort(value: onnxruntime.OrtValue) -> Any:
    if not value.is_tensor() or not value.has_value():
        return value.numpy() if value.has_value() else None
    if value.data_type() == "tensor(bfloat16)":
        content = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
        return np.frombuffer(content, BF16).reshape(value.shape())
    return value.numpy()


def _reference(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    return list(ReferenceEvaluator(model).run(None, dict(feeds)))
