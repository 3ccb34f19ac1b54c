"""Where Casts stand, which type each tensor has, and what of the interface stays: names, order, dimensions."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.compatibility.converted import CHAIN, X

HEAD = '<ir_version: 8, opset_import: ["": 17]> '


def casts(found):
    return [
        (node.input[0], node.attribute[0].i, node.output[0])
        for node in found.model.graph.node
        if node.op_type == "Cast"
    ]


@pytest.mark.parametrize(
    ("options", "operators"),
    [
        ({"data_max": np.inf}, ["MatMul", "Add", "Relu", "Exp", "Mul"]),
        ({"data_max": np.inf, "keep_io_types": True}, ["Cast", "MatMul", "Add", "Relu", "Exp", "Mul", "Cast"]),
        ({}, ["MatMul", "Add", "Relu", "Exp", "Cast", "Mul", "Cast"]),
        (
            {"data_max": np.inf, "nodes_to_exclude": ["relu"]},
            ["MatMul", "Add", "Cast", "Relu", "Exp", "Cast", "Mul"],
        ),
        ({"nodes_to_exclude": [".*"]}, ["Cast", "MatMul", "Add", "Relu", "Exp", "Mul", "Cast"]),
        ({"nodes_to_exclude": [".*"], "keep_io_types": True}, ["MatMul", "Add", "Relu", "Exp", "Mul"]),
    ],
)
def test_casts_stand_only_where_the_precision_changes(convert, options, operators):
    assert sorted(convert(**options).operators) == sorted(operators)


def test_one_cast_serves_all_readers_of_a_tensor(convert):
    text = (
        HEAD
        + """g (float[2] x) => (float[2] y, float[2] z)
    { [n] a = Neg(x) [e1] y = Exp(a) [e2] z = Sin(a) }"""
    )
    found = convert(text, nodes_to_exclude=["e"], keep_io_types=True)
    assert found.kept == {"e1", "e2"}
    assert found.operators.count("Cast") == 2


def test_a_cast_of_the_source_that_only_widened_is_dropped_where_its_reader_is_low(convert):
    text = HEAD + "g (float[2] x) => (float[2] y) { h = Cast<to = 10>(x) f = Cast<to = 1>(h) [n] y = Neg(f) }"
    assert convert(text).operators == ["Neg"]


def test_a_weight_that_two_precisions_read_is_stored_for_both(convert):
    text = (
        HEAD
        + """g (float[2] x) => (float[2] y) <float[2] w = {0.5, 0.25}>
    { [a] m = Mul(x, w) [b] y = Add(m, w) }"""
    )
    found = convert(text, nodes_to_exclude=["b"])
    assert found.precisions == {"a": "fp16", "b": "fp32"}
    np.testing.assert_allclose(found.run(x=np.array([1, 2], np.float32))[0], [1.0, 0.75])


def test_constants_follow_their_reader(convert):
    text = HEAD + "g (float[2] x) => (float[2] y) { c = Constant<value = float[1] {0.5}>() [m] y = Mul(x, c) }"
    assert convert(text).types["c"] == "fp16"
    assert convert(text, nodes_to_exclude=["m"]).types["c"] == "fp32"


@pytest.mark.parametrize("keep", [True, False])
def test_fp64_becomes_fp32_inside_and_low_where_it_may(convert, keep):
    text = HEAD + "g (double[2] x) => (double[2] y) { [n] a = Neg(x) [e] y = Exp(a) }"
    found = convert(text, keep_io_types=keep)
    assert found.interface == ({"x": "fp64", "y": "fp64"} if keep else {"x": "fp16", "y": "fp16"})
    assert found.precision("n") == "fp16"


@pytest.mark.parametrize("weight", [1e-9, -1e-9, 3e-8])
def test_tiny_weights_keep_their_sign(convert, weight):
    """AutoCast raises all that FP16 flushes to +6e-8, whatever their sign: a difference on purpose."""
    text = HEAD + "g (float[2] x) => (float[2] y) <float[2] w = {1, 1}> { [m] y = Mul(x, w) }"
    model = onnx.parser.parse_model(text)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([1, weight], np.float32), "w"))
    found = convert(model, op_types_to_include=["Mul"])
    stored = onnx.numpy_helper.to_array(found.model.graph.initializer[0]).astype(np.float64)
    assert np.sign(stored[1]) in (0, np.sign(weight)) and abs(stored[1] - weight) <= 2**-25


@pytest.mark.parametrize("clamped", [1e6, -1e6, 3e38])
def test_weights_beyond_the_range_are_clamped_where_their_node_is_forced_low(convert, clamped):
    text = HEAD + "g (float[2] x) => (float[2] y) <float[2] w = {1, 1}> { [m] y = Mul(x, w) }"
    model = onnx.parser.parse_model(text)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array([1, clamped], np.float32), "w"))
    found = convert(model, op_types_to_include=["Mul"])
    assert onnx.numpy_helper.to_array(found.model.graph.initializer[0])[1] == np.sign(clamped) * 65504


def test_names_and_their_order_stay(convert):
    text = (
        HEAD
        + """g (float[2] b, float[2] a) => (float[2] z, float[2] y, float[2] b)
    { [n] y = Neg(a) [e] z = Exp(b) }"""
    )
    found = convert(text, nodes_to_exclude=["e"])
    assert [each.name for each in found.model.graph.input] == ["b", "a"]
    assert [each.name for each in found.model.graph.output] == ["z", "y", "b"]


@pytest.mark.parametrize("dimensions", [(None, None), ("batch", None), (2, "width"), (2, 4)])
@pytest.mark.parametrize("keep", [True, False])
def test_dimensions_of_outputs_stay_as_declared(convert, dimensions, keep):
    model = onnx.parser.parse_model(CHAIN)
    declared = onnx.helper.make_tensor_value_info("y", 1, dimensions)
    model.graph.output[0].CopyFrom(declared)
    found = convert(model, keep_io_types=keep).model.graph.output[0]
    assert found.type.tensor_type.shape == declared.type.tensor_type.shape


def test_an_output_that_is_an_input_or_an_initializer_stays(convert):
    """AutoCast drops such outputs: a difference on purpose."""
    text = HEAD + "g (float[2] x) => (float[2] y, float[2] x, float[2] w) <float[2] w = {1, 2}> { y = Add(x, w) }"
    assert convert(text).interface == {"x": "fp16", "y": "fp16", "w": "fp16"}


@pytest.mark.parametrize("operator", ["Relu", "Gelu", "LayerNormalization", "Softmax"])
def test_the_result_computes_the_same(convert, operator):
    call = "LayerNormalization(x, s)" if operator == "LayerNormalization" else f"{operator}(x)"
    text = '<ir_version: 10, opset_import: ["": 20]> g (float[2,4] x) => (float[2,4] y) <float[4] s = {1, 1, 1, 1}> '
    text += "{ y = " + call + " }"
    expected = onnx.reference.ReferenceEvaluator(onnx.parser.parse_model(text)).run(None, {"x": X})[0]
    np.testing.assert_allclose(convert(text).run(x=X)[0], expected, rtol=4e-3, atol=4e-3)


def test_layer_normalization_over_inner_axes_is_not_fused(convert):
    """AutoCast fuses it as if the axes were all from there on, which computes something else."""
    text = (
        HEAD
        + """g (float[2,5,4] x) => (float[2,5,4] y)
    <float[4] s = {1, 2, 3, 4}, float two = {2.0}, float eps = {0.00001}> {
      m = ReduceMean<axes = [1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes = [1]>(p) e = Add(v, eps)
      r = Sqrt(e) n = Div(d, r) y = Mul(n, s) }"""
    )
    assert "LayerNormalization" not in convert(text).operators


def test_the_source_file_is_left_as_it_was(saved, convert):
    path = Path(saved())
    before = path.read_bytes()
    convert()
    assert path.read_bytes() == before
