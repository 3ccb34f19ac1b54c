"""Writes nodes down that take another node's place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

_FLOAT, _INT = ir.DataType.FLOAT, ir.DataType.INT64


class Tape:
    """New nodes, in order, in no graph yet; `names` gives each an unused name, `opset` is the default domain's."""

    def __init__(self, names: Iterator[str], opset: int) -> None:
        self.names = names
        self.opset = opset
        self.nodes: list[ir.Node] = []

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        dtype: ir.DataType = _FLOAT,
        attributes: dict[str, object] | None = None,
    ) -> ir.Value:
        """The first output, of type `dtype`, of a new node."""
        node = ir.node(op_type, list(inputs), attributes or {}, name=next(self.names))  # type: ignore[arg-type]
        node.outputs[0].name = node.name
        node.outputs[0].type = ir.TensorType(dtype)
        self.nodes.append(node)
        return node.outputs[0]

    def ints(self, *numbers: int) -> ir.Value:
        """A constant of whole numbers, of one dimension."""
        return self._constant(np.array(numbers, np.int64), _INT)

    def number(self, number: float) -> ir.Value:
        """An FP32 constant without dimensions."""
        return self._constant(np.array(number, np.float32), _FLOAT)

    def _constant(self, array: np.ndarray, dtype: ir.DataType) -> ir.Value:
        return self.op("Constant", dtype=dtype, attributes={"value": ir.tensor(array)})

    def rounded(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """`value` in FP32, rounded to `dtype`."""
        low = self.op("Cast", value, dtype=dtype, attributes={"to": int(dtype)})
        return self.op("Cast", low, attributes={"to": int(_FLOAT)})

    def shape(self, value: ir.Value, start: int = 0, end: int | None = None) -> ir.Value:
        """The sizes of `value` from axis `start` up to `end`, which may count from the last."""
        whole = self.op("Shape", value, dtype=_INT)
        stop = self.ints(np.iinfo(np.int64).max if end is None else end)
        return self.op("Slice", whole, self.ints(start), stop, self.ints(0), dtype=_INT)

    def joined(self, *parts: ir.Value) -> ir.Value:
        """Sizes, one behind the other."""
        return self.op("Concat", *parts, dtype=_INT, attributes={"axis": 0})

    def reshaped(self, value: ir.Value, shape: ir.Value) -> ir.Value:
        """`value` in another shape, of which a size of 0 is 0 where the opset has a form for that (14)."""
        return self.op("Reshape", value, shape, attributes={"allowzero": 1} if self.opset >= 14 else None)

    def summed(self, value: ir.Value, axis: int, *, keep: bool) -> ir.Value:
        """The sums along `axis`, in FP32."""
        return self.op("ReduceSum", value, self.ints(axis), attributes={"keepdims": int(keep)})

    def largest(self, value: ir.Value, axis: int) -> ir.Value:
        """The largest along `axis`, which stays with size 1."""
        if self.opset < 18:
            return self.op("ReduceMax", value, attributes={"axes": [axis], "keepdims": 1})
        return self.op("ReduceMax", value, self.ints(axis), attributes={"keepdims": 1})
