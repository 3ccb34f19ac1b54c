"""QuantizeLinear and DequantizeLinear: opsets, scales, and that quantized values stay."""

import logging

import numpy as np
import onnx
import pytest

from autocast_core import convert_to_f16
from tests.compatibility.converted import NAMES, ConvertedModel, X


def quantized(opset=13, ir=8):
    return f"""<ir_version: {ir}, opset_import: ["": {opset}]>
    g (float[2,4] x) => (float[2,4] y)
    <float s = {{0.125}}, int8 z = {{0}}, float t = {{0.25}},
     int8[4,4] q = {{1, -2, 3, -4, 5, 6, -7, 8, 9, 1, 0, -1, 3, 2, 1, 2}}>
    {{ [quantize] a = QuantizeLinear(x, s, z) [dequantize] b = DequantizeLinear(a, s, z)
       [weight] w = DequantizeLinear(q, t, z) [mm] m = MatMul(b, w) [relu] y = Relu(m) }}"""


@pytest.mark.parametrize(("own", "opset"), [(13, 19), (17, 19), (18, 19), (19, 19), (20, 20), (21, 21)])
def test_the_opset_is_at_least_19(convert, own, opset):
    assert convert(quantized(own, 10 if own > 19 else 9 if own > 18 else 8)).opset == opset


def test_a_lower_opset_that_was_asked_for_is_raised_with_a_warning(convert, caplog):
    with caplog.at_level(logging.WARNING, "autocast_core"):
        assert convert(quantized(), opset=17).opset == 19
    assert any("opset raised from 17 to 19" in message for message in caplog.messages)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_scales_are_low_and_quantized_values_stay(convert, precision):
    found = convert(quantized(), precision)
    assert found.weights["q"] == "int8"
    assert found.precision("mm") == found.precision("weight") == precision
    assert {found.weights[name] for name in found.weights if name.startswith(("s", "t"))} == {precision}


def test_numbers_are_those_of_the_quantized_source(convert):
    expected = ConvertedModel(onnx.parser.parse_model(quantized())).run(x=X)[0]
    np.testing.assert_allclose(convert(quantized()).run(x=X)[0], expected, rtol=2e-3)


@pytest.mark.parametrize(
    ("excluded", "kept"),
    [
        ("mm", {"mm"}),
        ("relu", {"relu"}),
        ("quantize", {"dequantize"}),  # its own result is INT8; a pair stays together
        ("dequantize", {"dequantize"}),
        ("weight", {"weight"}),
    ],
)
def test_any_node_may_be_excluded(convert, excluded, kept):
    found = convert(quantized(), nodes_to_exclude=[f"{excluded}$"])
    assert found.kept == kept
    expected = ConvertedModel(onnx.parser.parse_model(quantized())).run(x=X)[0]
    np.testing.assert_allclose(found.run(x=X)[0], expected, rtol=2e-3)


def test_convert_to_f16_converts_quantized_models(convert):
    found = convert_to_f16(onnx.parser.parse_model(quantized()), keep_io_types=False)
    assert [NAMES[info.type.tensor_type.elem_type] for info in (*found.graph.input, *found.graph.output)] == [
        "fp16"
    ] * 2
    assert ConvertedModel(found).opset == 19


def test_int4_values_need_opset_21(convert):
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[2,4] x) => (float[2,4] y) <float t = {0.25}> '
        "{ [weight] w = DequantizeLinear(q, t) [mm] y = MatMul(x, w) }"
    )
    model.graph.initializer.append(onnx.helper.make_tensor("q", onnx.TensorProto.INT4, [4, 4], range(-8, 8)))
    assert convert(model).opset == 21
