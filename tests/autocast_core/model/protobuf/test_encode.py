from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from autocast_core.model.protobuf.encode import encode, encode_for_runtime

GRAPHS = Path(__file__).parents[3] / "models" / "graphs"
EVERYTHING = """<
    ir_version: 10, opset_import: ["" : 17, "com.microsoft" : 1], producer_name: "p", producer_version: "2",
    domain: "d", model_version: 7, doc_string: "text", metadata_props: ["b": "2", "a": "1"]
> g (bool c, float[N, 3] x, seq(float) s) => (float[N, 3] y, optional(float[M]) o)
<float[3] w = {1, 2, 3}> {
    [named] a, unused = com.microsoft.Odd <alpha = 0.5, name = "t", axes = [1, 2], t = int64[2] {3, 4}> (x, "", w)
    y = If (c) <
        then_branch = t () => (float[N, 3] p) { p = Add (a, w) },
        else_branch = e () => (float[N, 3] q) <float[1] z = {5}> { q = Mul (x, z) }
    >
    [optional] o = Optional (w)
}"""


def same(proto: onnx.ModelProto) -> bool:
    model = ir.serde.deserialize_model(proto)
    expected = ir.serde.serialize_model(model)
    if not model.functions:
        forget_types_of_initializers(expected.graph)
    return encode(model) == expected


def forget_types_of_initializers(graph: onnx.GraphProto) -> None:
    """What onnx_ir writes of them says what their tensors say."""
    names = {tensor.name for tensor in graph.initializer}
    for info in [info for info in graph.value_info if info.name in names and not info.doc_string]:
        graph.value_info.remove(info)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                forget_types_of_initializers(attribute.g)


@pytest.mark.parametrize("path", sorted(GRAPHS.glob("*.2layers.onnx")), ids=lambda path: path.name)
def test_real_architectures_are_encoded_as_onnx_ir_does(path: Path):
    assert same(onnx.shape_inference.infer_shapes(onnx.load(path)))


def test_rare_parts_of_a_model_are_encoded_as_onnx_ir_does():
    proto = onnx.parser.parse_model(EVERYTHING)
    proto.graph.node[0].doc_string = "a node"
    proto.graph.node[0].metadata_props.add(key="k", value="v")
    proto.graph.input[1].doc_string = "an input"
    proto.graph.input[1].type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    proto.graph.value_info.add(name="a", doc_string="without a type")
    annotation = proto.graph.quantization_annotation.add(tensor_name="w")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="s")
    assert same(proto)


def test_a_runtime_is_told_no_types_that_it_infers_itself():
    model = ir.serde.deserialize_model(onnx.parser.parse_model(EVERYTHING))
    for node in model.graph:
        for value in node.outputs:
            value.type = value.type or ir.TensorType(ir.DataType.FLOAT)
    model.graph.outputs.remove(model.graph.node("optional").outputs[0])
    assert [info.name for info in encode(model).graph.value_info] == ["a", "unused", "o"]
    proto = encode_for_runtime(model)
    assert [info.name for info in proto.graph.value_info] == ["a", "unused"], "made by com.microsoft.Odd"
    assert proto.graph.output == encode(model).graph.output


def test_functions_are_encoded_as_onnx_ir_does():
    assert same(
        onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 17, "own" : 1]> g (float[2] x) => (float[2] y) {
            y = own.twice <by = 2.0> (x)
        } <domain: "own", opset_import: ["" : 17]> twice <by> (v) => (r) {
            k = Constant <value_float: float = @by> ()
            r = Mul (v, k)
        }""")
    )
