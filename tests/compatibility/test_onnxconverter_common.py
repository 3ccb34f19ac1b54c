"""onnxconverter-common's functions: parameters, defaults, block lists, limits of weights, validation."""

import inspect
import logging

import numpy as np
import onnx
import pytest

from autocast_core import auto_convert_mixed_precision, convert_float_to_float16
from autocast_core.pipeline.other_tools.onnxconverter_common import DEFAULT_OP_BLOCK_LIST
from tests.compatibility.converted import ConvertedModel

EMPTY = inspect.Parameter.empty
X = np.array([[0.5, -1.0, 0.25, 1.0], [1.0, 0.5, -0.5, 0.125]], np.float32)
TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,4] x) => (float[2,4] y) { [mm] a = MatMul(x, w) [mx] b = Max(a, k) [relu] y = Relu(b) }"""
OVERFLOWS = """<ir_version: 8, opset_import: ["": 17]>
g (float[2,4] x) => (float[2,4] y) <float[4] big = {30000, 30000, 30000, 30000}>
{ [first] a = Mul(x, big) [second] b = Mul(a, big) [third] y = Div(b, big) }"""


def model(w=((0.5,) * 4,) * 4, k=(0.0, 1.0, 2.0, 3.0)):
    found = onnx.parser.parse_model(TEXT)
    for name, values in (("w", w), ("k", k)):
        found.graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.float32), name))
    return found


def stored(found, name):
    (tensor,) = [each for each in found.graph.initializer if each.name == name]
    return onnx.numpy_helper.to_array(tensor)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            convert_float_to_float16,
            {
                "model": EMPTY,
                "min_positive_val": 1e-7,
                "max_finite_val": 1e4,
                "keep_io_types": False,
                "disable_shape_infer": False,
                "op_block_list": None,
                "node_block_list": None,
                "check_fp16_ready": True,
            },
        ),
        (
            auto_convert_mixed_precision,
            {
                "model": EMPTY,
                "feed_dict": EMPTY,
                "validate_fn": None,
                "rtol": None,
                "atol": None,
                "keep_io_types": False,
            },
        ),
    ],
)
def test_parameters_and_defaults_are_the_same(function, parameters):
    found = {name: each.default for name, each in inspect.signature(function).parameters.items()}
    assert list(found.items()) == list(parameters.items())


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {"mx"}),
        ({"op_block_list": []}, set()),
        ({"op_block_list": ["MatMul"]}, {"mm"}),
        ({"op_block_list": [*DEFAULT_OP_BLOCK_LIST, "Relu"]}, {"mx", "relu"}),
        ({"op_block_list": [], "node_block_list": ["mm"]}, {"mm"}),
        ({"op_block_list": [], "node_block_list": ["m"]}, set()),  # names, no patterns
        ({"op_block_list": [], "node_block_list": ["m."]}, set()),
        ({"node_block_list": ["relu", "mm"]}, {"mm", "mx", "relu"}),
        ({"op_block_list": [], "disable_shape_infer": True}, set()),
    ],
)
def test_block_lists_keep_operators_and_nodes(options, kept):
    found = convert_float_to_float16(model(), **options)
    onnx.checker.check_model(found, full_check=True)
    assert ConvertedModel(found).kept == kept


@pytest.mark.parametrize(("keep", "kind"), [(False, "fp16"), (True, "fp32")])
def test_inputs_and_outputs_are_low_unless_they_keep_their_types(keep, kind):
    assert ConvertedModel(convert_float_to_float16(model(), keep_io_types=keep)).interface == {"x": kind, "y": kind}


def test_an_input_that_only_a_blocked_node_reads_is_low():
    found = ConvertedModel(convert_float_to_float16(model(), op_block_list=["MatMul", "Relu"]))
    assert found.interface == {"x": "fp16", "y": "fp16"}


EXTREMES = (1e-9, -1e-9, 2e4, -2e4, 0.0, np.inf, 1e6, 0.5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1e-7, -1e-7, 1e4, -1e4, 0.0, np.inf, 1e4, 0.5)),
        ({"max_finite_val": 65504}, (1e-7, -1e-7, 2e4, -2e4, 0.0, np.inf, 65504, 0.5)),
        ({"min_positive_val": 1e-3}, (1e-3, -1e-3, 1e4, -1e4, 0.0, np.inf, 1e4, 0.5)),
        ({"min_positive_val": 0}, (0.0, -0.0, 1e4, -1e4, 0.0, np.inf, 1e4, 0.5)),
        ({"max_finite_val": 1e30}, (1e-7, -1e-7, 2e4, -2e4, 0.0, np.inf, 65504, 0.5)),
    ],
)
def test_weights_that_become_fp16_are_limited(options, expected):
    """The first two as onnxconverter-common 1.16 stored them."""
    found = convert_float_to_float16(model(w=np.resize(EXTREMES, (4, 4))), **options)
    np.testing.assert_array_equal(stored(found, "w").reshape(-1)[:8], np.array(expected, np.float16))


def test_weights_of_blocked_nodes_are_left_alone():
    found = convert_float_to_float16(model(w=np.resize(EXTREMES, (4, 4))), op_block_list=["MatMul"])
    np.testing.assert_array_equal(stored(found, "w").reshape(-1)[:8], np.array(EXTREMES, np.float32))


def test_large_weights_are_limited_too():
    text = TEXT.replace("[2,4]", "[2,200]")
    found = onnx.parser.parse_model(text)
    w, k = np.full((200, 200), 2e4, np.float32), np.zeros(200, np.float32)
    found.graph.initializer.extend([onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(k, "k")])
    assert set(stored(convert_float_to_float16(found), "w").reshape(-1)) == {10000.0}


def test_limited_weights_are_counted_in_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "autocast_core"):
        convert_float_to_float16(model(k=(1e-9, 2e4, 0, 1)), op_block_list=[])
    assert "weight 'k': 2 elements are limited to magnitudes of 1e-07 to 10000" in caplog.messages


def test_the_given_model_is_not_modified():
    source = model()
    before = source.SerializeToString(deterministic=True)
    convert_float_to_float16(source)
    auto_convert_mixed_precision(source, {"x": X}, rtol=0.1)
    assert source.SerializeToString(deterministic=True) == before


def test_a_converted_model_is_refused_unless_the_check_is_off():
    once = convert_float_to_float16(model(), op_block_list=[])
    with pytest.raises(ValueError, match="has FP16 tensors already"):
        convert_float_to_float16(once)
    assert convert_float_to_float16(once, op_block_list=[], check_fp16_ready=False).graph.node == once.graph.node


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        ("model.onnx", {}, "is a str: give an onnx.ModelProto"),
        (None, {}, "is a NoneType"),
        (model(), {"min_positive_val": 2, "max_finite_val": 1}, "0 <= the first <= the other"),
        (model(), {"min_positive_val": -1}, "0 <= the first"),
        (model(), {"op_block_list": "Relu"}, "op_block_list is the string 'Relu'"),
    ],
)
def test_what_cannot_be_used_is_a_value_error(given, options, said):
    with pytest.raises(ValueError, match=said):
        convert_float_to_float16(given, **options)


@pytest.mark.parametrize(
    "validity",
    [
        {"rtol": 0.01},
        {"atol": 1.0},
        {"rtol": 0.01, "atol": 0.001},
        {"validate_fn": lambda a, b: np.allclose(a[0], b[0], rtol=0.01)},
        {"validate_fn": lambda a, b: len(a) == len(b) == 1, "rtol": 0.01},
    ],
)
def test_the_fewest_nodes_stay_fp32_for_which_results_are_valid(validity):
    """Only `second` and `third` see 30000 squared; onnxconverter-common 1.16 ends with an error on this model."""
    source = onnx.parser.parse_model(OVERFLOWS)
    found = ConvertedModel(auto_convert_mixed_precision(source, {"x": X}, **validity))
    assert found.kept == {"second", "third"}
    assert found.interface == {"x": "fp16", "y": "fp16"}
    np.testing.assert_allclose(found.run(x=X)[0], 30000 * X, rtol=0.01)


def test_where_all_may_be_low_all_are():
    found = auto_convert_mixed_precision(model(), {"x": X}, rtol=0.01, atol=0.01, keep_io_types=True)
    assert ConvertedModel(found).kept == set()
    assert ConvertedModel(found).interface == {"x": "fp32", "y": "fp32"}


def test_results_are_judged_with_the_roundings_of_fp16():
    """ONNX Runtime's CPU provider computes FP16 nodes in FP32: Log(Exp(20)) would look valid there."""
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { [e] a = Exp(x) [l] y = Log(a) }'
    feeds = {"x": np.array([20], np.float32)}
    found = auto_convert_mixed_precision(onnx.parser.parse_model(text), feeds, rtol=0.01)
    assert ConvertedModel(found).kept == {"e", "l"}


def test_a_dynamic_batch_is_one_batch():
    text = OVERFLOWS.replace("float[2,4] x", "float[n,4] x").replace("float[2,4] y", "float[n,4] y")
    seen = []

    def validate(expected, found):
        seen.append(found[0].shape)
        return bool(np.allclose(expected[0], found[0], rtol=0.01))

    auto_convert_mixed_precision(onnx.parser.parse_model(text), {"x": np.tile(X, (3, 1))}, validate)
    assert set(seen) == {(6, 4)}


@pytest.mark.parametrize(
    ("feeds", "validity", "said"),
    [
        ({"x": X}, {}, "validate_fn, rtol and atol are all None"),
        ({"x": X}, {"validate_fn": lambda a, b: False}, "not valid beside themselves"),
        ({}, {"rtol": 0.1}, "no array 'x'"),
    ],
)
def test_what_cannot_be_validated_is_a_value_error(feeds, validity, said):
    with pytest.raises(ValueError, match=said):
        auto_convert_mixed_precision(model(), feeds, **validity)
