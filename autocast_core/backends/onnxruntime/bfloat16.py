"""BF16 outputs, which ONNX Runtime's Python interface cannot hand out, as FP32 ones that it can."""

from __future__ import annotations

import onnx_ir as ir


def has_bfloat16_outputs(model: ir.Model) -> bool:
    """Whether an output of the model is a BF16 tensor."""
    return any(map(_is_bfloat16, model.graph.outputs))


def with_readable_outputs(model: ir.Model) -> ir.Model:
    """A new model whose BF16 outputs are cast to FP32 (exact), in the same order, under names of their own."""
    copy = model.clone()
    taken = {value.name for node in copy.graph for value in node.outputs} | {v.name for v in copy.graph.inputs}
    for index, value in enumerate(copy.graph.outputs):
        if _is_bfloat16(value):
            cast = ir.node("Cast", [value], {"to": int(ir.DataType.FLOAT)})
            cast.outputs[0].name = next(
                name for n in range(len(taken) + 1) if (name := f"{value.name}.{n}") not in taken
            )
            cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
            taken.add(cast.outputs[0].name)
            copy.graph.append(cast)
            copy.graph.outputs[index] = cast.outputs[0]
    return copy


def _is_bfloat16(value: ir.Value) -> bool:
    return isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.BFLOAT16
