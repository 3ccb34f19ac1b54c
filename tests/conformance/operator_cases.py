"""ONNX's own operator cases: small models with inputs, which the ONNX project maintains, one file an operator.

A file's cases are made when the file is imported, so that collecting the tests costs nothing and every worker makes
only what it runs.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.backend.test.case.node as cases_of_onnx
from onnx import numpy_helper


@dataclass(frozen=True)
class OperatorCase:
    """One model and the inputs to run it with, by name; sequences are lists, an absent optional is None."""

    name: str
    model: onnx.ModelProto
    feeds: dict[str, Any]


def operator_files() -> list[str]:
    """The modules that hold the cases, in the order of their names."""
    found = pkgutil.walk_packages(cases_of_onnx.__path__, cases_of_onnx.__name__ + ".")
    return sorted(each.name for each in found if not each.ispkg and not each.name.rpartition(".")[2].startswith("_"))


@functools.cache
def operator_cases(file: str) -> tuple[OperatorCase, ...]:
    """The cases of one file whose model has a float input."""
    before = len(cases_of_onnx._NodeTestCases)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        importlib.import_module(file)
    return tuple(_case(case) for case in cases_of_onnx._NodeTestCases[before:] if _has_float_input(case.model))


def _case(case: Any) -> OperatorCase:
    values = [_as_array(item) for item in case.data_sets[0][0]]
    names = [value.name for value in case.model.graph.input]
    return OperatorCase(case.name, case.model, dict(zip(names, values, strict=False)))


def _has_float_input(model: onnx.ModelProto) -> bool:
    return any(onnx.TensorProto.FLOAT in _element_types(value.type) for value in model.graph.input)


def _element_types(kind: onnx.TypeProto) -> Iterator[int]:
    match kind.WhichOneof("value"):
        case "tensor_type":
            yield kind.tensor_type.elem_type
        case "sparse_tensor_type":
            yield kind.sparse_tensor_type.elem_type
        case "sequence_type":
            yield from _element_types(kind.sequence_type.elem_type)
        case "optional_type":
            yield from _element_types(kind.optional_type.elem_type)


def _as_array(item: Any) -> Any:
    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    if isinstance(item, list | tuple):
        return [_as_array(each) for each in item]
    return np.asarray(item) if isinstance(item, np.generic) else item
