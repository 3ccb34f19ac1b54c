"""Custom operators, by name: `trt_plugins_precision`, the default domain, and what surrounds them."""

import numpy as np
import onnx
import pytest

from autocast_core import convert_to_f16, convert_to_mixed_precision
from tests.compatibility.converted import NAMES

PLUGIN = """<ir_version: 8, opset_import: ["": 17, "trt.plugins": 1]>
g (float[2] x) => (float[2] y) { [before] a = Neg(x) [own] b = trt.plugins.Swirl(a) [after] y = Abs(b) }"""


def model(text=PLUGIN):
    found = onnx.parser.parse_model(text)
    found.graph.value_info.append(onnx.helper.make_tensor_value_info("b", 1, [2]))
    return found


@pytest.fixture
def types(saved):
    """The types that the plugin reads and makes, and the operators around it, after a conversion."""

    def types(**options):
        found = convert_to_mixed_precision(saved(model()), data_max=None, **options)
        inferred = {info.name: info.type.tensor_type.elem_type for info in found.graph.value_info}
        (own,) = [node for node in found.graph.node if node.name == "own"]
        producer = {name: node for node in found.graph.node for name in node.output}
        reads = inferred.get(own.input[0]) or producer[own.input[0]].attribute[0].i
        return NAMES[reads], NAMES[inferred[own.output[0]]], [node.op_type for node in found.graph.node]

    return types


@pytest.mark.parametrize(
    ("precision", "reads", "makes"),
    [
        ([], "fp32", "fp32"),
        (["Swirl:fp32"], "fp32", "fp32"),
        (["Swirl:fp16"], "fp16", "fp16"),
        (["Swirl:[fp16]:[fp32]"], "fp16", "fp32"),
        (["Swirl:[fp32]:[fp16]"], "fp32", "fp16"),
        (["Other:fp16"], "fp32", "fp32"),
        (["Other:fp32", "Swirl:fp16"], "fp16", "fp16"),
    ],
)
def test_a_custom_operator_has_the_precision_that_is_named(types, precision, reads, makes):
    assert types(trt_plugins_precision=precision)[:2] == (reads, makes)


def test_without_a_named_precision_its_neighbours_are_low_all_the_same(types):
    assert types()[2] == ["Neg", "Cast", "Swirl", "Cast", "Abs"]


def test_a_low_plugin_needs_no_casts(types):
    assert types(trt_plugins_precision=["Swirl:fp16"])[2] == ["Neg", "Swirl", "Abs"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_plugin_in_the_default_domain_goes_to_the_domain_of_plugins(saved, declared):
    """NVIDIA's example of a custom operator has one there."""
    text = PLUGIN.replace("trt.plugins.Swirl", "IdentityConv").replace(', "trt.plugins": 1', "")
    found = convert_to_mixed_precision(saved(model(text) if declared else onnx.parser.parse_model(text)), data_max=None)
    (own,) = [node for node in found.graph.node if node.op_type == "IdentityConv"]
    assert own.domain == "trt.plugins"
    assert ("trt.plugins", 1) in [(each.domain, each.version) for each in found.opset_import]


def test_the_ir_version_of_a_model_with_plugins_is_at_most_10(saved):
    source = model()
    source.ir_version = 11
    assert convert_to_mixed_precision(saved(source), data_max=None).ir_version == 10


def test_a_plugin_calibrates_no_further_than_up_to_it(saved):
    """Without a library for it; AutoCast ends with an error."""
    data = {"x": np.array([1000, 1000], np.float32)}
    found = convert_to_mixed_precision(saved(model()), calibration_data=data)
    assert [node.op_type for node in found.graph.node] == ["Cast", "Neg", "Swirl", "Cast", "Abs"]


def test_convert_to_f16_leaves_custom_operators_in_fp32():
    found = convert_to_f16(model(), keep_io_types=False)
    assert [node.op_type for node in found.graph.node] == ["Neg", "Cast", "Swirl", "Cast", "Abs"]
