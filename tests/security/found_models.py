"""Small models on which fuzzing has found a reader at fault; each is made as bytes."""

import onnx.parser
from onnx import TensorProto, helper, numpy_helper

from tests.security.protobuf_edits import GROUP, GROUP_END, SCHEMA, Field, encoded, parsed, varint

HEAD = '<ir_version: 9, opset_import: ["": 17]>'
MARK = b"PLACE"
RELU = f"{HEAD} g (float[2] x) => (float[2] y) {{ y = Relu(x) }}"
MATMUL = f"{HEAD} g (float[N,2] x) => (float[N,2] y) <float[2,2] w = {{1, 2, 3, 4}}> {{ y = MatMul(x, w) }}"


def _not_text(place):
    """A model with bytes in one place that are not UTF-8."""

    def made():
        model = onnx.parser.parse_model(MATMUL)
        node, mark = model.graph.node[0], MARK.decode()
        owners = {
            "the graph's name": (model.graph, "name"),
            "the graph's description": (model.graph, "doc_string"),
            "a node's name": (node, "name"),
            "a node's domain": (node, "domain"),
            "a node's description": (node, "doc_string"),
            "the producer's name": (model, "producer_name"),
            "the model's domain": (model, "domain"),
            "an initializer's name": (model.graph.initializer[0], "name"),
            "an input's description": (model.graph.input[0], "doc_string"),
        }
        if place in owners:
            setattr(*owners[place], mark)
        elif place == "metadata":
            model.metadata_props.add(key=mark, value="v")
        elif place == "an opset's domain":
            model.opset_import.add(domain=mark, version=1)
        elif place == "an attribute's name":
            node.attribute.append(helper.make_attribute(mark, 1))
        elif place == "an attribute's description":
            node.attribute.append(helper.make_attribute("a", 1, doc_string=mark))
        elif place == "a dimension's name":
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = mark
        elif place == "a value's name":
            node.input[0] = model.graph.input[0].name = mark
        elif place == "a declared value's description":
            model.graph.value_info.add(name="q", doc_string=mark)
        elif place == "a location":
            _external(model, mark)
        elif place == "a sparse tensor's name":
            _sparse(model, [4], name=mark)
        return model.SerializeToString().replace(MARK, b"\xed\xa0\x80\xff\xfe")

    return made


PLACES = (
    "the graph's name",
    "the graph's description",
    "a node's name",
    "a node's domain",
    "a node's description",
    "the producer's name",
    "the model's domain",
    "an initializer's name",
    "an input's description",
    "metadata",
    "an opset's domain",
    "an attribute's name",
    "an attribute's description",
    "a dimension's name",
    "a value's name",
    "a declared value's description",
    "a location",
    "a sparse tensor's name",
)


def _external(model, location):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def _sparse(model, dims, name="s", kind=TensorProto.FLOAT):
    import numpy as np

    sparse = model.graph.sparse_initializer.add(dims=dims)
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), name))
    sparse.values.data_type = kind
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "i"))
    return model


def _sparse_type(kind):
    return lambda: _sparse(onnx.parser.parse_model(RELU), [4], kind=kind).SerializeToString()


def sparse_gigabytes():
    """A hundred bytes that expand to eight gigabytes."""
    return _sparse(onnx.parser.parse_model(RELU), [1 << 31]).SerializeToString()


def _group_in(*path):
    """A model with a group, an obsolete form of protobuf, in the message that the field numbers lead to."""

    def made():
        model = _sparse(onnx.parser.parse_model(MATMUL), [4])
        fields = parsed(model.SerializeToString(), SCHEMA)
        message = fields
        for number in path:
            message = next(field.value for field in message if field.number == number)
        message.append(Field(30, GROUP, varint(30 << 3 | GROUP_END)))
        return encoded(fields)

    return made


def _number(text, attribute, value):
    def made():
        model = onnx.parser.parse_model(f"{HEAD} {text}")
        for node in model.graph.node:
            for each in node.attribute:
                if each.name == attribute:
                    each.i = value
        return model.SerializeToString()

    return made


CAST = "g (float[2] x) => (float[2] y) { y = Cast <to = 1> (x) }"
CAST_AND_MORE = "g (float[2] x) => (float[2] y) { z = Cast <to = 1> (x) y = Relu (z) }"


def constant_without_a_value():
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ k = Constant () y = Mul (x, k) }}")
    return model.SerializeToString()


def constant_with_two_values():
    model = onnx.parser.parse_model(
        f"{HEAD} g (float x) => (float y) {{ k = Constant <value_float = 1.0, value_int = 2> () y = Mul (x, k) }}"
    )
    return model.SerializeToString()


def attribute_of_another_kind():
    """A graph where a number should be."""
    model = onnx.parser.parse_model(f"{HEAD} {CAST}")
    attribute = model.graph.node[0].attribute[0]
    attribute.type = onnx.AttributeProto.GRAPH
    return model.SerializeToString()


def a_functions_attribute():
    """An attribute that stands for one of a function's, where there is no function."""
    model = onnx.parser.parse_model(f"{HEAD} g (float[2] x) => (float[2] y) {{ k = Constant () y = Mul (x, k) }}")
    model.graph.node[0].attribute.add(name="value", ref_attr_name="v", type=onnx.AttributeProto.TENSOR)
    return model.SerializeToString()


def nameless_device():
    model = onnx.parser.parse_model(f"{HEAD} {CAST}")
    model.graph.node[0].device_configurations.add()
    return model.SerializeToString()


MODELS = {
    **{f"no text in {place}": _not_text(place) for place in PLACES},
    "a sparse tensor of type 1000": _sparse_type(1000),
    "a sparse tensor of type -1": _sparse_type(-1),
    "sparse gigabytes": sparse_gigabytes,
    "a group in the model": _group_in(),
    "a group in the graph": _group_in(7),
    "a group in a node": _group_in(7, 1),
    "a group in a tensor": _group_in(7, 5),
    "a group in a sparse tensor": _group_in(7, 15, 1),
    "a Cast to type 1048576": _number(CAST, "to", 1 << 20),
    "a Cast to type -1": _number(CAST, "to", -1),
    "a Cast in between to type 2**40": _number(CAST_AND_MORE, "to", 1 << 40),
    "a device configuration without a name": nameless_device,
    "an attribute of a function that is not there": a_functions_attribute,
    "a Constant without a value": constant_without_a_value,
    "a Constant with two values": constant_with_two_values,
    "an attribute of another kind": attribute_of_another_kind,
}
