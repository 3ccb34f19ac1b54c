"""Element types of the values that nodes make, changed with the precision of the nodes."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.apply.literals import convert_tensor
from autocast_core.number_formats import PRECISION_DTYPES
from autocast_core.operators import Operands, element_type, output_type_fact, ports_of, with_element_type


def retype_outputs(moves: Mapping[ir.Node, tuple[Operands, ir.DataType]]) -> None:
    """Give what moving operands make their type: outputs, inputs of bodies, and attributes that name a type.

    `moves` has the operands that move and the type they take, for each node that changes.
    """
    for node, (operands, low) in moves.items():
        for value, moving in zip(node.outputs, operands.outputs, strict=True):
            if moving:
                retype(value, low)
        for port in ports_of(node):
            moving = _port_moves(operands, port.input_index, port.output_index)
            if moving and port.inner_input is not None and element_type(port.inner_input) in PRECISION_DTYPES:
                retype(port.inner_input, low)
        _set_dtype_attribute(node, operands, low)


def _port_moves(operands: Operands, input_index: int | None, output_index: int | None) -> bool:
    return (input_index is not None and operands.inputs[input_index]) or (
        output_index is not None and operands.outputs[output_index]
    )


def retype(value: ir.Value, dtype: ir.DataType) -> None:
    """Let `value`, whose type is known, hold elements of type `dtype`."""
    assert value.type is not None
    value.type = with_element_type(value.type, dtype)


def _set_dtype_attribute(node: ir.Node, operands: Operands, low: ir.DataType) -> None:
    fact = output_type_fact(node)
    if fact is None or not fact.settable or not operands.outputs[0]:
        return
    name = fact.attribute
    attribute = node.attributes.get(name)
    if name == "value":
        tensor = attribute.as_tensor() if attribute is not None else ir.tensor([0.0], dtype=ir.DataType.FLOAT, name="")
        node.attributes[name] = ir.AttrTensor(name, convert_tensor(tensor, low, tensor.name or ""))
    elif node.op_type == "DequantizeLinear" and operands.inputs[1]:
        node.attributes.pop(name, None)  # the type of the scale, which moves too, says the same
    elif attribute is not None or fact.default == "FLOAT":
        node.attributes[name] = ir.AttrInt64(name, int(low))
