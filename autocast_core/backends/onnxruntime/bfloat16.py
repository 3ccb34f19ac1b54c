"""BF16 outputs, which ONNX Runtime's Python interface cannot hand out, as FP32 ones that it can."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.graph.names import unused_names


def has_bfloat16_outputs(model: ir.Model) -> bool:
    """Whether an output of the model is a BF16 tensor."""
    return any(map(_is_bfloat16, model.graph.outputs))


def with_readable_outputs(model: ir.Model) -> ir.Model:
    """A new model whose BF16 outputs are cast to FP32 (exact), in the same order, under names of their own."""
    copy = model.clone()
    names = unused_names(copy.graph)
    for index, value in enumerate(copy.graph.outputs):
        if _is_bfloat16(value):
            cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
            cast.outputs[0].name = next(names.numbered(str(value.name)))
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            copy.graph.append(cast)
            copy.graph.outputs[index] = cast.outputs[0]
    return copy


def _is_bfloat16(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.BFLOAT16
