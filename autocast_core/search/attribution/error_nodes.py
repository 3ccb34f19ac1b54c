"""Nodes that sum up errors, written for a graph that is being instrumented."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from autocast_core.graph.new_nodes import new_constant, new_node

FLOAT = ir.DataType.FLOAT


@dataclass
class ErrorNodes:
    """Writes nodes under `names`: computing ones to `added`, constants (each once) to `constants`."""

    names: Iterator[str]
    added: list[ir.Node] = field(default_factory=list)
    constants: list[ir.Node] = field(default_factory=list)
    _numbers: dict[object, ir.Value] = field(default_factory=dict)

    def apart(self) -> ErrorNodes:
        """A writer with the same names and constants whose computing nodes come to a list of their own."""
        return ErrorNodes(self.names, [], self.constants, self._numbers)

    def __call__(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        self.added.append(new_node(op_type, inputs, attributes, next(self.names)))
        return self.added[-1].outputs[0]

    def number(self, number: float | np.ndarray) -> ir.Value:
        """A constant: an array, or a float as an FP32 scalar."""
        array = np.asarray(number, None if isinstance(number, np.ndarray) else np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._numbers:
            self.constants.append(new_constant(array, next(self.names)))
            self._numbers[key] = self.constants[-1].outputs[0]
        return self._numbers[key]

    def error(self, found: ir.Value, exact: ir.Value) -> ir.Value:
        """The sum of squared differences, an FP32 scalar; of values that are neither floats nor quantized, how many
        differ."""
        if found is exact:
            return self.number(0.0)
        if is_float(exact):
            return self.squares(self("Sub", found, exact))
        if is_quantized(exact):
            return self.squares(self("Sub", self._float(found), self._float(exact)))
        return self.count(self("Not", self("Equal", found, exact)))

    def energy(self, exact: ir.Value) -> ir.Value:
        """What errors of `exact` are relative to: its sum of squares, or its number of elements."""
        if is_float(exact):
            return self.squares(exact)
        return self.squares(self._float(exact)) if is_quantized(exact) else self._float(self("Size", exact))

    def squares(self, value: ir.Value) -> ir.Value:
        """The sum of squares, an FP32 scalar."""
        return self("ReduceSumSquare", value, keepdims=0)

    def count(self, mask: ir.Value) -> ir.Value:
        """How many elements of `mask` are true, an FP32 scalar."""
        return self("ReduceSum", self._float(mask), keepdims=0)

    def _float(self, value: ir.Value) -> ir.Value:
        return self("Cast", value, to=int(FLOAT))

    def vanishes(self, exact: ir.Value, rounded: ir.Value) -> ir.Value:
        """A mask of the elements other than 0 that round to 0."""
        boolean = int(ir.DataType.BOOL)
        return self("And", self("Cast", exact, to=boolean), self("Not", self("Cast", rounded, to=boolean)))


def is_float(value: ir.Value) -> bool:
    """Whether `value` is a tensor of FP32."""
    return isinstance(value.type, ir.TensorType) and value.dtype == FLOAT


def is_quantized(value: ir.Value) -> bool:
    """Whether `value` is a tensor of 8-bit integers."""
    return isinstance(value.type, ir.TensorType) and value.dtype in (ir.DataType.INT8, ir.DataType.UINT8)
