"""Invalid sources that the converter cannot repair: the finding, the node, what to correct, exit code 2."""

import re

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import convert_file
from autocast_core.errors import ModelError
from autocast_core.verify import invalid_source

HEAD = '<ir_version: 8, opset_import: ["": 17]> '
GRAPH = "g (float[b,4] x) => (float[b,4] y) <float[3,2] w = {1,2,3,4,5,6}> "
CASES = {
    "an unknown attribute": (
        "{ [n] y = Softmax<axs = 1>(x) }",
        r"Unrecognized attribute: axs for operator Softmax.* Name: n .*: remove or rename the attribute",
    ),
    "an unnamed node": (
        "{ h = Softmax<axs = 1>(x) y = Neg(h) }",
        r"Unrecognized attribute: axs .* Name: of output 'h' OpType: Softmax: remove or rename the attribute",
    ),
    "a missing attribute": ("{ [n] y = Concat(x, x) }", r"Required attribute 'axis' is missing.* Name: n .*: give the"),
    "a cycle": (
        "{ h = Add(x, y) y = Neg(h) }",
        r"the Add node of graph that makes 'h' reads 'y', which nothing before it makes: make the tensor before",
    ),
    "a tensor that nothing makes": (
        "{ [n] y = Add(x, q) }",
        r"node graph/n \(Add\) reads 'q', which nothing before it makes: make the tensor before, or declare it",
    ),
    "too many inputs": (
        "{ [n] y = Relu(x, x) }",
        r"Node\(n\) .* size 2 not in range .*: correct the node's operands",
    ),
    "too few inputs": ("{ [n] y = Conv(x) }", r"Node\(n\) .* size 1 not in range .*: correct the node's operands"),
    "an operator of a later opset": (
        "{ [n] y = Gelu(x) }",
        r"No Op registered for Gelu .* Name: n .*: export the model at opset 20 or higher",
    ),
    "an operator of the past": (
        "{ [n] y = Upsample(x, x) }",
        r"Upsample is deprecated .* Name: n .*: export at an",
    ),
    "two types": (
        "{ [n] i = Cast<to = 7>(x) y = Add(x, i) }",
        r"Add, node name: of output 'y'.*inconsistent type tensor\(int64\): cast the operand",
    ),
    "lengths that do not fit": (
        "{ [n] y = MatMul(x, w) }",
        r"MatMul, node name: n\).*Incompatible dim.*: correct",
    ),
    "an axis that is none": ("{ [n] y = Softmax<axis = 5>(x) }", r"Softmax, node name: n\).*'axis' must be.*: correct"),
}


def refusal(tmp_path, model):
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError) as caught:
        convert_file(tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert caught.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_the_finding_names_the_node_and_what_to_correct(tmp_path, name):
    nodes, expected = CASES[name]
    assert re.search(expected, refusal(tmp_path, onnx.parser.parse_model(HEAD + GRAPH + nodes)))


def test_a_wrong_type_of_an_output_is_named(tmp_path):
    text = "g (float[4] x) => (int64[4] y) { [n] y = Relu(x) }"
    found = refusal(tmp_path, onnx.parser.parse_model(HEAD + text))
    assert "node name: n" in found and found.endswith("(1) vs (7): correct the declared type")


def test_a_missing_import_of_the_default_domain_is_not_guessed(tmp_path):
    model = onnx.parser.parse_model(HEAD + "g (float[4] x) => (float[4] y) { [n] y = Relu(x) }")
    model.opset_import[0].domain = "com.microsoft"
    model.opset_import[0].version = 1
    assert refusal(tmp_path, model).endswith("OpType: Relu: import the opset that the model was made with")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_two_initializers_of_one_name_are_refused(tmp_path, value):
    model = onnx.parser.parse_model(HEAD + "g (float[4] x) => (float[4] y) <float[4] w = {1,1,1,1}> { y = Add(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.full(4, value, np.float32), "w"))
    model.graph.ClearField("name")  # which is repaired: the initializers are not
    assert "two initializers of graph '' are named 'w': rename or remove one" in refusal(tmp_path, model)


def test_what_nothing_is_known_of_is_for_the_exporter_to_correct():
    assert str(invalid_source("odd")) == "the model is not valid ONNX: odd: correct the export"
