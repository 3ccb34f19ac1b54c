"""What a model must be fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx_ir as ir

Dim = int | str | None


@dataclass(frozen=True)
class InputSpec:
    """One input that must be fed: its element type and its dimensions.

    A dimension is a length, a symbol, or None where nothing is known; `dims` is None where the rank is unknown.
    `kind` ``sequence`` means a sequence of such tensors; ``other`` (maps) cannot be fed from data files.
    """

    name: str
    dtype: ir.DataType
    dims: tuple[Dim, ...] | None
    kind: Literal["tensor", "sequence", "other"] = "tensor"

    @property
    def numpy(self) -> np.dtype:
        """The numpy type of the elements; strings are objects."""
        return np.dtype(object) if self.dtype == ir.DataType.STRING else np.dtype(self.dtype.numpy())

    def __str__(self) -> str:
        dims = "any shape" if self.dims is None else f"[{', '.join('?' if d is None else str(d) for d in self.dims)}]"
        return f"{self.name} {self.dtype.name.lower()} {dims}"


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """The inputs of `model` in order, without those that have an initializer as their default (IR version 3)."""
    return tuple(_spec(value) for value in model.graph.inputs if value.name not in model.graph.initializers)


def _spec(value: ir.Value) -> InputSpec:
    kind: Literal["tensor", "sequence", "other"] = "tensor"
    type_: Any = value.type
    while isinstance(type_, ir.SequenceType | ir.OptionalType):
        kind = "sequence" if isinstance(type_, ir.SequenceType) or kind == "sequence" else "tensor"
        type_ = type_.elem_type
    if type_ is not None and not isinstance(type_, ir.TensorType):
        kind = "other"
    dtype = ir.DataType.UNDEFINED if type_ is None else type_.dtype
    dims = None if value.shape is None else tuple(map(_dim, value.shape))
    return InputSpec(str(value.name), dtype, dims, kind)


def _dim(dim: int | ir.SymbolicDim) -> Dim:
    """Old exporters write an unknown length as -1."""
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return dim.value
