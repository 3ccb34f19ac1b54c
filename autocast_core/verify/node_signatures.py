"""One node of each signature in a model: operator, attributes (of bodies their nodes), and types of the operands.

The signature decides whether a runtime takes a node, and large models repeat a few. Loading one node of each makes the
load test of a large model cheap: ONNX Runtime's CPU provider wraps every FP16 node in Casts when it loads it. How the
nodes fit together is for the checker to judge.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.graph.annotations import raw_attributes
from autocast_core.graph.walk import outer_reads
from autocast_core.model.protobuf.serialized_parts import is_weight

_TENSOR_KINDS = (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS)


def one_node_per_signature(model: ir.Model) -> ir.Model:
    """A model of the first node of each signature in the main graph of `model`. What these nodes and their bodies read
    of it are its inputs (small tensors are initializers), what they make its outputs. It shares the bodies.

    `model` itself where it has functions, or one of these nodes a value without a type.
    """
    if model.functions:
        return model
    chosen: dict[object, ir.Node] = {}
    for node in model.graph:
        if node.op_type != "Constant" or node.domain:
            chosen.setdefault(_signature(node), node)
    nodes = _with_constants(chosen.values())
    if any(value.type is None for node in nodes for value in (*outer_reads(node), *node.outputs) if value.name):
        return model
    return _model_of(model, nodes)


def _signature(node: ir.Node) -> object:
    attributes = [(name, _content(attribute)) for name, attribute in raw_attributes(node).items()]
    operands = [(_type(value), value is not None and _is_small_constant(value)) for value in node.inputs]
    return (node.domain, node.op_type, node.overload, *attributes, *operands, *map(_type, node.outputs))


def _content(attribute: ir.Attr) -> object:
    if attribute.is_ref() or attribute.type in _TENSOR_KINDS:
        return str(attribute.type)
    if attribute.type is ir.AttributeType.GRAPH:
        return _of_body(attribute.value)
    if attribute.type is ir.AttributeType.GRAPHS:
        return tuple(map(_of_body, attribute.value))
    return tuple(attribute.value) if isinstance(attribute.value, list | tuple) else attribute.value


def _of_body(body: ir.Graph) -> object:
    operands = (*body.inputs, *body.initializers.values(), *body.outputs)
    return (*map(_type, operands), *map(_signature, body))


def _type(value: ir.Value | None) -> object:
    if value is None or not value.name:
        return None
    kind = value.type
    return kind.dtype if isinstance(kind, ir.TensorType) else str(kind)


def _is_small_constant(value: ir.Value) -> bool:
    return value.const_value is not None and value.is_initializer() and not is_weight(value.const_value)


def _with_constants(nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """`nodes`, each behind the Constants that it and its bodies read."""
    found: dict[ir.Node, None] = {}
    for node in nodes:
        makers = (value.producer() for value in outer_reads(node))
        found.update((maker, None) for maker in makers if maker is not None and maker.op_type == "Constant")
        found[node] = None
    return list(found)


def _model_of(model: ir.Model, nodes: Iterable[ir.Node]) -> ir.Model:
    made: dict[ir.Value, ir.Value] = {}
    inputs: list[ir.Value] = []
    initializers: list[ir.Value] = []
    copies: list[ir.Node] = []

    def read(value: ir.Value | None) -> ir.Value | None:
        if value is None or value in made:
            return None if value is None else made[value]
        copy = made[value] = ir.Value(name=value.name, type=value.type, shape=value.shape)
        if _is_small_constant(value):
            copy.const_value = value.const_value
            initializers.append(copy)
        else:
            inputs.append(copy)
        return copy

    for node in nodes:
        for value in outer_reads(node):
            read(value)
        outputs = [ir.Value(name=value.name, type=value.type) for value in node.outputs]
        copies.append(
            ir.Node(
                node.domain,
                node.op_type,
                [read(value) for value in node.inputs],
                tuple(node.attributes.values()),
                overload=node.overload,
                outputs=outputs,
                name=node.name,
            )
        )
        made.update(zip(node.outputs, outputs, strict=True))
    outputs = [value for node in copies for value in node.outputs if value.name]
    graph = ir.Graph(
        inputs,
        outputs,
        nodes=copies,
        initializers=initializers,
        opset_imports=dict(model.opset_imports),
        name=model.graph.name,
    )
    return ir.Model(graph, ir_version=model.ir_version)
