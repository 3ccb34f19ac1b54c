"""Opsets and IR versions: minimum, kept, asked for, raised where operators need it; and the warnings."""

import logging

import onnx
import pytest

from autocast_core import convert_to_f16
from tests.compatibility.converted import ConvertedModel


def relu(opset, ir=8):
    return f'<ir_version: {ir}, opset_import: ["": {opset}]> g (float[2] x) => (float[2] y) {{ [n] y = Relu(x) }}'


LAYER_NORM = """<ir_version: 8, opset_import: ["": OPSET]>
g (float[2,5,4] x) => (float[2,5,4] y)
<float[4] s = {1, 2, 3, 4}, float[4] b = {1, 1, 1, 1}, float two = {2.0}, float eps = {0.00001}> {
  m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) p = Pow(d, two) v = ReduceMean<axes = [-1]>(p)
  e = Add(v, eps) r = Sqrt(e) n = Div(d, r) k = Mul(n, s) y = Add(k, b) }"""


@pytest.mark.parametrize(
    ("own", "precision", "wanted", "opset"),
    [
        (11, "fp16", None, 13),
        (13, "fp16", None, 13),
        (17, "fp16", None, 17),
        (22, "fp16", None, 22),
        (13, "bf16", None, 22),
        (21, "bf16", None, 22),
        (23, "bf16", None, 23),
        (13, "fp16", 18, 18),
        (13, "bf16", 19, 19),
        (17, "fp16", 13, 17),
        (11, "fp16", 12, 12),
    ],
)
def test_the_opset_is_the_models_own_at_least_the_minimum_or_the_one_asked_for(convert, own, precision, wanted, opset):
    assert convert(relu(own, 10 if own > 19 else 8), precision, opset=wanted).opset == opset


@pytest.mark.parametrize(
    ("own", "precision", "wanted", "said"),
    [
        (11, "fp16", 12, ["opset 12 is below 13"]),
        (13, "bf16", 19, ["opset 19 is below 22"]),
        (17, "fp16", 13, ["opset 13 is below the model's own"]),
        (20, "bf16", 19, ["opset 19 is below the model's own", "opset 20 is below 22"]),
        (17, "fp16", 17, []),
        (17, "bf16", 22, []),
    ],
)
def test_a_low_opset_is_warned_of(convert, caplog, own, precision, wanted, said):
    with caplog.at_level(logging.WARNING, "autocast_core"):
        convert(relu(own, 10 if own > 19 else 8), precision, opset=wanted)
    warnings = [message for message in caplog.messages if message.startswith("opset")]
    assert len(warnings) == len(said)
    assert all(warning.startswith(start) for warning, start in zip(warnings, said, strict=True))


@pytest.mark.parametrize(("own", "wanted"), [(11, None), (13, None), (16, None), (17, None), (13, 13)])
def test_a_decomposed_layer_norm_is_fused_and_raises_the_opset_to_17(convert, own, wanted):
    found = convert(LAYER_NORM.replace("OPSET", str(own)), opset=wanted)
    assert (found.operators, found.opset) == (["LayerNormalization"], 17)
    assert found.interface == {"x": "fp16", "y": "fp16"}


def test_a_model_without_layer_norm_is_not_raised(convert):
    text = LAYER_NORM.replace("OPSET", "13").replace("axes = [-1]", "axes = [1]")
    assert convert(text).opset == 13


@pytest.mark.parametrize(
    ("ir", "opset", "expected"), [(12, 17, 10), (11, 21, 10), (10, 21, 10), (8, 17, 8), (11, 23, 11)]
)
def test_the_ir_version_is_at_most_10_where_the_opset_allows_it(convert, ir, opset, expected):
    assert convert(relu(opset, ir)).model.ir_version == expected


@pytest.mark.parametrize(
    ("own", "precision", "wanted", "opset"),
    [
        (13, "fp16", None, 19),
        (18, "fp16", None, 19),
        (19, "fp16", None, 19),
        (21, "fp16", None, 21),
        (13, "fp16", 17, 19),
        (13, "fp16", 20, 20),
        (13, "bf16", None, 22),
        (13, "bf16", 19, 22),
        (23, "bf16", None, 23),
    ],
)
def test_convert_to_f16_is_at_opset_19_or_22(own, precision, wanted, opset):
    model = onnx.parser.parse_model(relu(own, 10 if own > 19 else 8))
    assert ConvertedModel(convert_to_f16(model, precision, opset=wanted)).opset == opset


def test_convert_to_f16_warns_of_an_opset_that_it_raises(caplog):
    with caplog.at_level(logging.WARNING, "autocast_core"):
        convert_to_f16(onnx.parser.parse_model(relu(13)), opset=17)
    assert caplog.messages == ["opset 17 is below 19, the minimum for fp16 here: using 19"]


def test_unnamed_nodes_are_called_as_in_autocasts_log(convert):
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[2,2] x) => (float[2,2] y, float[2,2] z) {
      a = MatMul(x, x) b = Relu(a) [MatMul_2] c = MatMul(b, x) d = Relu(c) y = MatMul(d, x) z = Tanh(d) }"""
    assert convert(text, nodes_to_exclude=["MatMul_[34]"]).kept == {"MatMul_3", "MatMul_4"}
