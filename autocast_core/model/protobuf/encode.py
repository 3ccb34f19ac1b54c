"""onnx_ir to protobuf, at the cost of the structure.

onnx_ir's own serializer spends most of its time on the types of values, which repeat, and checks protocols at every
step; this one writes each type once and copies it. What is rare (functions, devices, attributes other than bodies) is
left to onnx_ir. The result is the same message, but for the type and shape of initializers, which their tensors say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import onnx_ir as ir

from autocast_core.graph.annotations import (
    may_have_quantization_annotations,
    quantization_annotation,
    raw_attributes,
)
from autocast_core.graph.constants import stored_bytes
from autocast_core.model.tensors import ConvertedTensor


def encode(model: ir.Model) -> onnx.ModelProto:
    """`model` as ir.serde.serialize_model would give it. Raises ir.serde.SerdeError or TypeError as that does."""
    return _encoded(model, _Encoder)


def encode_for_runtime(model: ir.Model) -> onnx.ModelProto:
    """As `encode`, without what is declared of inner values that ONNX's own operators make.

    ONNX Runtime's CPU provider infers that; others may ask for it.
    """
    return _encoded(model, _RuntimeEncoder)


def _encoded(model: ir.Model, encoder: type[_Encoder]) -> onnx.ModelProto:
    if model.functions or model.device_configurations:
        return ir.serde.serialize_model(model)
    proto = onnx.ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name or None,
        producer_version=model.producer_version or None,
        domain=model.domain or None,
        model_version=model.model_version or None,
        doc_string=model.doc_string or None,
    )
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    _add_properties(proto.metadata_props, model.metadata_props)
    encoder(may_have_quantization_annotations(model.graph)).graph(model.graph, proto.graph)
    return proto


def encode_undeclared(model: ir.Model, large_bytes: int) -> onnx.ModelProto:
    """What type inference works from: the graph of `model` without what is declared of inner values.

    Tensors of more than `large_bytes` have a type and dimensions only. Raises as `encode`.
    """
    proto = onnx.ModelProto(ir_version=max(model.ir_version, 4))
    for domain, version in model.graph.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    _UndeclaredEncoder(may_have_quantization_annotations(model.graph), large_bytes).graph(model.graph, proto.graph)
    return proto


class _Encoder:
    """Keeps the types that were written; `annotated` says whether to look for annotations."""

    def __init__(self, annotated: bool) -> None:
        self.types: dict[object, tuple[ir.Shape | None, onnx.TypeProto]] = {}
        self.equal_types: dict[object, onnx.TypeProto] = {}
        self.annotated = annotated

    def graph(self, graph: ir.Graph, proto: onnx.GraphProto) -> None:
        if graph.name:
            proto.name = graph.name
        if graph.doc_string:
            proto.doc_string = graph.doc_string
        for value in graph.inputs:
            self.value(value, proto.input)
        inputs = {value.name for value in graph.inputs}
        for value in graph.initializers.values():
            if value.name not in inputs and (value.metadata_props or value.doc_string):
                self.value(value, proto.value_info)
            if value.const_value is not None:
                value.const_value.name = value.name
                self.tensor(value.const_value, proto.initializer.add())
        for node in graph:
            self.node(node, proto.node.add())
            for value in node.outputs:
                if not value.is_graph_output():
                    self.info(value, proto)
        for value in graph.outputs:
            self.value(value, proto.output)
        _add_properties(proto.metadata_props, graph.metadata_props)
        if self.annotated:
            _add_annotations(graph, proto)

    def node(self, node: ir.Node, proto: onnx.NodeProto) -> None:
        if node.device_configurations:
            ir.serde.serialize_node_into(proto, node)
            return
        proto.op_type = node.op_type
        if node.name:
            proto.name = node.name
        if node.domain:
            proto.domain = node.domain
        if node.overload:
            proto.overload = node.overload
        if node.doc_string:
            proto.doc_string = node.doc_string
        if node.metadata_props:
            _add_properties(proto.metadata_props, node.metadata_props)
        proto.input.extend(["" if value is None else value.name for value in node.inputs])
        outputs = [value.name or "" for value in node.outputs]
        while outputs and not outputs[-1]:
            outputs.pop()
        proto.output.extend(outputs)
        for attribute in raw_attributes(node).values():
            self.attribute(attribute, proto.attribute.add())

    def attribute(self, attribute: ir.Attr, proto: onnx.AttributeProto) -> None:
        if attribute.is_ref():
            ir.serde.serialize_reference_attribute_into(proto, attribute)
        elif attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            proto.name = attribute.name
            if attribute.doc_string:
                proto.doc_string = attribute.doc_string
            if attribute.type == ir.AttributeType.GRAPH:
                proto.type = onnx.AttributeProto.GRAPH
                self.body(attribute.as_graph(), proto.g)
            else:
                proto.type = onnx.AttributeProto.GRAPHS
                for body in attribute.as_graphs():
                    self.body(body, proto.graphs.add())
        elif attribute.type == ir.AttributeType.TENSOR:
            proto.name, proto.type = attribute.name, onnx.AttributeProto.TENSOR
            if attribute.doc_string:
                proto.doc_string = attribute.doc_string
            self.tensor(attribute.value, proto.t)  # as_tensor() checks a runtime protocol, dearer than all the rest
        else:
            ir.serde.serialize_attribute_into(proto, attribute)

    def body(self, graph: ir.Graph, proto: onnx.GraphProto) -> None:
        self.graph(graph, proto)

    def tensor(self, tensor: ir.TensorProtocol, proto: onnx.TensorProto) -> None:
        if type(tensor) not in (ir.Tensor, ConvertedTensor) or tensor.doc_string or tensor.metadata_props:
            ir.serde.serialize_tensor_into(proto, tensor)
            return
        if tensor.name:
            proto.name = tensor.name
        proto.data_type = tensor.dtype
        proto.dims.extend(tensor.shape)
        proto.raw_data = tensor.tobytes()

    def info(self, value: ir.Value, proto: onnx.GraphProto) -> None:
        """What is known of an inner value, if anything is."""
        known = value.type is not None or value.shape is not None or value.metadata_props or value.doc_string
        if known and value.name:
            self.value(value, proto.value_info)

    def value(self, value: ir.Value, listed: Any) -> None:
        proto = listed.add()
        proto.name = value.name
        kind = value.type
        if isinstance(kind, ir.TensorType):
            proto.type.CopyFrom(self.tensor_type(kind, value.shape))
        else:
            if kind is not None:
                ir.serde.serialize_type_into(proto.type, kind)
            if value.shape is not None:
                ir.serde.serialize_shape_into(proto.type, value.shape)
        if value.metadata_props:
            _add_properties(proto.metadata_props, value.metadata_props)
        if value.doc_string:
            proto.doc_string = value.doc_string

    def tensor_type(self, kind: ir.TensorType, shape: ir.Shape | None) -> onnx.TypeProto:
        """Written once for all values of one type and shape, and looked up once for those that share a shape object."""
        key = (kind.dtype, kind.denotation, id(shape))
        known = self.types.get(key)
        if known is None:
            # The shape is held, so that no other one gets its id.
            known = self.types[key] = (shape, self.equal_tensor_type(kind, shape))
        return known[1]

    def equal_tensor_type(self, kind: ir.TensorType, shape: ir.Shape | None) -> onnx.TypeProto:
        dims = None if shape is None else tuple((dim, shape.get_denotation(index)) for index, dim in enumerate(shape))
        key = (kind.dtype, kind.denotation, dims)
        proto = self.equal_types.get(key)
        if proto is None:
            proto = self.equal_types[key] = onnx.TypeProto()
            ir.serde.serialize_type_into(proto, kind)
            if shape is not None:
                ir.serde.serialize_shape_into(proto, shape)
        return proto


class _RuntimeEncoder(_Encoder):
    """Leaves out what is declared of inner values that ONNX's own operators make."""

    def info(self, value: ir.Value, proto: onnx.GraphProto) -> None:
        maker = value.producer()
        if maker is not None and maker.domain:
            super().info(value, proto)


class _UndeclaredEncoder(_Encoder):
    """Leaves out what is declared of inner values, of the shape of outputs, and of the outputs of bodies, and the
    elements of large tensors."""

    def __init__(self, annotated: bool, large_bytes: int) -> None:
        super().__init__(annotated)
        self.large_bytes = large_bytes

    def info(self, value: ir.Value, proto: onnx.GraphProto) -> None:
        pass

    def graph(self, graph: ir.Graph, proto: onnx.GraphProto) -> None:
        super().graph(graph, proto)
        for value, output in zip(graph.outputs, proto.output, strict=True):
            if output.type.HasField("tensor_type") and value.producer() is not None:
                output.type.tensor_type.ClearField("shape")

    def body(self, graph: ir.Graph, proto: onnx.GraphProto) -> None:
        super().body(graph, proto)
        for output in proto.output:
            output.ClearField("type")

    def tensor(self, tensor: ir.TensorProtocol, proto: onnx.TensorProto) -> None:
        if tensor.dtype == ir.DataType.STRING or stored_bytes(tensor) <= self.large_bytes:
            super().tensor(tensor, proto)
            return
        proto.name, proto.data_type = tensor.name or "", int(tensor.dtype)
        proto.dims.extend(tensor.shape)
        proto.data_location = onnx.TensorProto.EXTERNAL


def _add_annotations(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """The quantization annotations, in onnx_ir's order."""
    made = [value for node in graph for value in node.outputs if not value.is_graph_output()]
    for value in (
        *(value for value in graph.inputs if value.name not in graph.initializers),
        *graph.initializers.values(),
        *made,
        *graph.outputs,
    ):
        names = quantization_annotation(value)
        if names:
            annotation = proto.quantization_annotation.add(tensor_name=value.name)
            _add_properties(annotation.quant_parameter_tensor_names, names)


def _add_properties(listed: Any, properties: Mapping[str, str]) -> None:
    for key in sorted(properties) if properties else ():
        listed.add(key=key, value=properties[key])
