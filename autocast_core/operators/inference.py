"""Element types from operator schemas, for values that shape inference leaves without a type.

Type inference must not depend on shape inference: a schema that binds an output to the type variable of an input
settles its element type whatever the shapes are. Shapes are not touched.

What a custom operator makes, where nothing declares it, is taken to have the type of its first float tensor, else FP32,
as AutoCast does without TensorRT; facts.json has the types of some TensorRT plugins.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.number_formats import PRECISION_DTYPES
from autocast_core.operators.facts import operator_facts
from autocast_core.operators.operands import output_type_fact
from autocast_core.operators.ports import BodyPort, ports_of
from autocast_core.operators.signature import Signature, find_signature
from autocast_core.operators.types import element_type, parse_type, type_string


def infer_missing_types(model: ir.Model) -> tuple[ir.Value, ...]:
    """Give every value a type whose producer's schema and inputs settle it, bodies included.

    Returns the values of which nothing tells the type, so that it was assumed.
    """
    assumed: list[ir.Value] = []
    _infer(model.graph, model, assumed)
    return tuple(assumed)


def _infer(graph: ir.Graph, model: ir.Model, assumed: list[ir.Value]) -> None:
    _type_initializers(graph)
    opsets = model.opset_imports
    for node in graph:
        ports = ports_of(node)
        for port in ports:
            _spread(port, [port.outer_input], [port.inner_input])
        for attribute in raw_attributes(node).values():
            if attribute.type == ir.AttributeType.GRAPH:
                _infer(attribute.as_graph(), model, assumed)
        for port in ports:
            _spread(port, [port.outer_output], [*port.inner_outputs])
        missing = [index for index, value in enumerate(node.outputs) if value.type is None]
        if not missing or ports:
            continue
        signature = find_signature(node.domain, node.op_type, opsets.get(node.domain, 1))
        if signature is None and node.domain and node.op_identifier() not in model.functions:
            assumed += _assume_outputs(node)
        else:
            _infer_outputs(node, missing, signature)


def _assume_outputs(node: ir.Node) -> list[ir.Value]:
    """Give the outputs of a custom operator that have no type the likeliest; returns those that no fact tells."""
    known = operator_facts().plugin_outputs.get(node.op_type, ())
    given = [value.type.dtype for value in node.inputs if value is not None and isinstance(value.type, ir.TensorType)]
    likely = next((dtype for dtype in given if dtype in PRECISION_DTYPES), ir.DataType.FLOAT)
    assumed = []
    for index, value in enumerate(node.outputs):
        if value.type is None and value.name:
            value.type = ir.TensorType(known[index] if index < len(known) else likely)
            if index >= len(known):
                assumed.append(value)
    return assumed


def _type_initializers(graph: ir.Graph) -> None:
    for value in graph.initializers.values():
        if value.type is None and value.const_value is not None:
            value.type = ir.TensorType(value.const_value.dtype)


def _spread(port: BodyPort, outside: list[ir.Value | None], inside: list[ir.Value | None]) -> None:
    """Values of a port that have no type take that of the others; a SequenceMap's sequences hold what is inside."""
    sequences = port.unwrap and port.node.op_type == "SequenceMap"
    outer = next((v.type for v in outside if v is not None and v.type is not None), None)
    inner = next((v.type for v in inside if v is not None and v.type is not None), None)
    if outer is None and inner is not None:
        outer = ir.SequenceType(inner) if sequences else inner
    if inner is None and outer is not None:
        inner = outer.elem_type if sequences else outer  # type: ignore[assignment]
    for values, kind in ((outside, outer), (inside, inner)):
        for value in values:
            if value is not None and value.type is None and kind is not None:
                value.type = kind


def _infer_outputs(node: ir.Node, missing: list[int], signature: Signature | None) -> None:
    stated = _stated_type(node)
    bound: dict[str, ir.TypeProtocol] = {}
    if signature is not None:
        for index, value in enumerate(node.inputs):
            declared = signature.input_type(index)
            if declared is not None and value is not None and value.type is not None:
                bound.setdefault(declared, value.type)
    for index in missing:
        kind = stated if index == 0 and stated is not None else None
        declared = signature.output_type(index) if signature is not None else None
        if kind is None and declared is not None:
            kind = bound.get(declared) or parse_type(declared) or _nearest_type(signature, declared, bound.values())
        if kind is not None:
            node.outputs[index].type = kind


def _nearest_type(
    signature: Signature | None, variable: str, given: Iterable[ir.TypeProtocol]
) -> ir.TypeProtocol | None:
    """The type that a variable no input binds can only have: its sole one, or what wraps or unwraps an input's most
    closely (SequenceConstruct, SequenceAt, Optional, OptionalGetElement)."""
    allowed = sorted(signature.constraints.get(variable, ())) if signature is not None else []
    if len(allowed) == 1:
        return parse_type(allowed[0])
    texts = [type_string(kind) for kind in given]
    near = [
        (abs(len(text) - len(kind)), kind)
        for kind in allowed
        for text in texts
        if text != kind and (text in kind or kind in text)
    ]
    return parse_type(min(near)[1]) if near else None


def _stated_type(node: ir.Node) -> ir.TypeProtocol | None:
    """The type that an attribute states for output 0."""
    if node.domain != "":
        return None
    if node.op_type in ("Cast", "BitCast") and "to" in node.attributes:
        return ir.TensorType(ir.DataType(node.attributes["to"].as_int()))
    if node.op_type == "CastLike" and len(node.inputs) > 1 and node.inputs[1] is not None:
        return node.inputs[1].type
    if node.op_type == "Constant":
        return _constant_type(node)
    fact = output_type_fact(node)
    if fact is None or 0 not in fact.outputs:
        return None
    attribute = node.attributes.get(fact.attribute)
    if attribute is not None and attribute.type == ir.AttributeType.TENSOR:
        return ir.TensorType(attribute.as_tensor().dtype)
    if attribute is not None and attribute.as_int() != 0:
        dtype = ir.DataType(attribute.as_int())
    elif fact.default == "FLOAT":
        dtype = ir.DataType.FLOAT
    else:
        source = node.inputs[1] if node.op_type == "DequantizeLinear" else node.inputs[0]
        found = element_type(source)
        if found is None:
            return None
        dtype = found
    return ir.SequenceType(ir.TensorType(dtype)) if node.op_type == "SequenceEmpty" else ir.TensorType(dtype)


def _constant_type(node: ir.Node) -> ir.TypeProtocol | None:
    for name, attribute in node.attributes.items():
        if name == "value":
            return ir.TensorType(attribute.as_tensor().dtype)
        if name in ("value_float", "value_floats"):
            return ir.TensorType(ir.DataType.FLOAT)
        if name in ("value_int", "value_ints"):
            return ir.TensorType(ir.DataType.INT64)
        if name in ("value_string", "value_strings"):
            return ir.TensorType(ir.DataType.STRING)
    return None
