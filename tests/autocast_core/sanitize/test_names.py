import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.graph.names import node_names, value_names
from autocast_core.sanitize.names import give_unique_names


def model_of(text: str) -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


UNNAMED = """
<ir_version: 8, opset_import: ["": 17]>
g (float[2] x) => (float[2] y) { a = Add(x, x) b = Mul(a, x) y = Add(b, x) }
"""

SHADOWING = """
<ir_version: 8, opset_import: ["": 17]>
g (bool c, float[2] x) => (float[2] y) {
  a = Add(x, x)
  y = If (c) <
    then_branch = t () => (float[2] r) { a = Mul(x, x) r = Neg(a) },
    else_branch = e () => (float[2] r) { r = Neg(a) }>
}
"""


def test_unnamed_nodes_are_called_by_operator_and_number_as_in_autocasts_log():
    model = model_of(UNNAMED)
    give_unique_names(model, ConversionConfig())
    assert [node.name for node in model.graph] == ["Add_1", "Mul_1", "Add_2"]


def test_numbering_begins_with_how_many_names_there_are_and_rises_where_one_is_in_use():
    """As AutoCast's log called them when it was given this model."""
    model = model_of(
        """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[2,2] x) => (float[2,2] y, float[2,2] z) {
          a = MatMul(x, x) b = Relu(a) [MatMul_2] c = MatMul(b, x) d = Relu(c) y = MatMul(d, x) z = Tanh(d) }
        """
    )
    give_unique_names(model, ConversionConfig())
    names = [node.name for node in model.graph]
    assert names == ["MatMul_3", "Relu_3", "MatMul_2", "Relu_4", "MatMul_4", "Tanh_4"]


def test_names_in_use_are_not_given_to_unnamed_nodes():
    model = model_of(UNNAMED)
    model.graph[2].name = "Add_0"
    give_unique_names(model, ConversionConfig())
    assert [node.name for node in model.graph] == ["Add_2", "Mul_2", "Add_0"]


def test_of_nodes_with_one_name_the_first_keeps_it():
    model = model_of(UNNAMED)
    for node in model.graph:
        node.name = "same"
    changes = give_unique_names(model, ConversionConfig())
    assert [node.name for node in model.graph] == ["same", "same_1", "same_2"]
    assert changes[0].nodes == ("same_1", "same_2")


def test_a_name_in_a_body_differs_from_one_outside():
    model = model_of(SHADOWING)
    give_unique_names(model, ConversionConfig())
    assert list(node_names(model)) == ["Add_1", "If_1", "Mul_1", "Neg_1", "Neg_2"]


def test_a_value_that_shadows_an_outer_one_is_renamed_and_its_readers_follow():
    model = model_of(SHADOWING)
    give_unique_names(model, ConversionConfig())
    names = list(value_names(model))
    assert len(names) == len(set(names))
    then_branch = next(node for node in model.graph if node.op_type == "If").attributes["then_branch"].as_graph()
    assert then_branch[1].inputs[0] is then_branch[0].outputs[0]
    assert then_branch[0].outputs[0].name != "a"
    assert model.graph[0].outputs[0].name == "a"


def test_inputs_outputs_and_initializers_keep_their_names():
    model = model_of(SHADOWING.replace("(float[2] r) { a = Mul(x, x) r = Neg(a) }", "(float[2] y) { y = Neg(x) }"))
    give_unique_names(model, ConversionConfig())
    assert [value.name for value in model.graph.inputs] == ["c", "x"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_unique_names_are_left_alone():
    model = model_of(UNNAMED)
    give_unique_names(model, ConversionConfig())
    assert give_unique_names(model, ConversionConfig()) == ()


def test_an_omitted_output_keeps_its_empty_name():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[2,3] x) => (float[2,3] y, float[2,1] s) { y, "", s = LayerNormalization(x, x) }
    """
    proto = onnx.parser.parse_model(text.replace('"", s', "unused, s"))
    proto.graph.node[0].output[1] = ""
    model = ir.serde.deserialize_model(proto)
    give_unique_names(model, ConversionConfig())
    assert [value.name for value in model.graph[0].outputs] == ["y", "", "s"]


@pytest.mark.parametrize("kind", ["raw", "typed"])
def test_renaming_a_body_initializer_leaves_the_callers_tensor_alone(kind: str):
    body = onnx.parser.parse_graph("b () => (float[2] r) <float[2] w = {1, 2}> { r = Neg(w) }")
    if kind == "raw":
        body.initializer[0].CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(body.initializer[0]), "w"))
    proto = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["": 17]>
    g (bool c) => (float[2] y) <float[2] w = {5, 6}> { a = Neg(w) y = Neg(a) }
    """)
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    proto.graph.node[1].CopyFrom(node)
    original = ir.serde.deserialize_model(proto)
    before = ir.serde.serialize_model(original).SerializeToString()
    copy = original.clone()
    give_unique_names(copy, ConversionConfig())
    bodies = [attribute.as_graph() for attribute in copy.graph[1].attributes.values()]
    assert [list(body.initializers) for body in bodies] == [["w_1"], ["w_2"]]
    assert ir.serde.serialize_model(original).SerializeToString() == before


def test_quantization_annotations_follow_a_renamed_tensor():
    model = model_of(SHADOWING)
    then_branch = model.graph[1].attributes["then_branch"].as_graph()
    then_branch.outputs[0].meta["quant_parameter_tensor_names"] = {"SCALE_TENSOR": "a"}
    give_unique_names(model, ConversionConfig())
    renamed = then_branch[0].outputs[0].name
    assert then_branch.outputs[0].meta["quant_parameter_tensor_names"] == {"SCALE_TENSOR": renamed}
