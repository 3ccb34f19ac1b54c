import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import ConfigError
from autocast_core.sanitize import sanitize
from autocast_core.sanitize.change import opset_rewrote_nodes
from autocast_core.sanitize.opset import choose_opset, minimum_ir_version

BF16 = ConversionConfig(precision=Precision.BF16)


def model_at(opset: int, nodes: str = "y = Relu(x)") -> ir.Model:
    text = f'<ir_version: 7, opset_import: ["": {opset}]> g (float[2,3] x) => (float[2,3] y) {{ {nodes} }}'
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("own", "precision", "wanted", "expected"),
    [
        (17, "fp16", None, 17),
        (11, "fp16", None, 13),
        (17, "bf16", None, 22),
        (23, "bf16", None, 23),
        (13, "fp16", 18, 18),
        (11, "fp16", 12, 12),
        (17, "fp16", 15, 17),
    ],
)
def test_the_opset_is_the_models_own_at_least_the_minimum_or_the_one_asked_for(own, precision, wanted, expected):
    result = sanitize(model_at(own), ConversionConfig(precision=Precision(precision), opset=wanted))
    assert result.model.graph.opset_imports == {"": expected}
    assert not opset_rewrote_nodes(result.changes)  # no node means anything else there
    onnx.checker.check_model(ir.serde.serialize_model(result.model), full_check=True)


def test_an_opset_below_the_models_own_is_refused_with_a_warning():
    result = sanitize(model_at(17), ConversionConfig(opset=15))
    assert result.warnings == ("opset 15 is below the model's own: keeping 17, as a lower one may break it",)


def test_an_opset_below_the_recommended_minimum_is_honoured_with_a_warning():
    result = sanitize(model_at(17), ConversionConfig(precision=Precision.BF16, opset=19))
    assert result.model.graph.opset_imports[""] == 19
    assert result.warnings == ("opset 19 is below 22, the recommended minimum for bf16",)


def test_an_unknown_opset_is_a_configuration_error():
    with pytest.raises(ConfigError, match="opset 99"):
        sanitize(model_at(17), ConversionConfig(opset=99))


QUANTIZED = """
s = Constant<value = float {0.1}>() z = Constant<value = uint8 {3}>()
q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)
"""


def test_quantizers_with_float_scales_raise_the_opset_to_19():
    result = sanitize(model_at(13, QUANTIZED), ConversionConfig())
    assert result.model.graph.opset_imports[""] == 19
    assert result.warnings == ()


def test_quantizers_raise_an_opset_that_was_asked_for_with_a_warning():
    result = sanitize(model_at(13, QUANTIZED), ConversionConfig(opset=17))
    assert result.model.graph.opset_imports[""] == 19
    assert result.warnings == ("opset raised from 17 to 19 for 16-bit scales of QuantizeLinear and DequantizeLinear",)


def test_the_ir_version_rises_only_as_far_as_the_opset_needs():
    assert sanitize(model_at(13), ConversionConfig(opset=17)).model.ir_version == 8
    assert sanitize(model_at(17), BF16).model.ir_version == minimum_ir_version(22) == 10
    assert sanitize(model_at(17), ConversionConfig()).model.ir_version == 7


def test_only_the_default_domain_counts():
    text = '<ir_version: 8, opset_import: ["trt.plugins": 1]> g (float[2] x) => (float[2] y) { y = trt.plugins.Act(x) }'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    assert choose_opset(model, BF16) is None
    result = sanitize(model, BF16)
    assert result.model.graph.opset_imports == {"trt.plugins": 1, "": 22}
    assert not opset_rewrote_nodes(result.changes)


def test_ai_onnx_is_the_default_domain():
    text = '<ir_version: 8, opset_import: ["ai.onnx": 11]> g (float[2] x) => (float[2] y) { y = ai.onnx.Relu(x) }'
    result = sanitize(ir.serde.deserialize_model(onnx.parser.parse_model(text)), ConversionConfig())
    assert result.model.graph.opset_imports == {"": 13}


def test_bodies_are_at_the_new_opset_too():
    nodes = """
    c = Constant<value = bool {1}>()
    y = If (c) <
      then_branch = t () => (float[2,3] r) { s = ReduceSum<axes = [1]>(x) r = Sub(x, s) },
      else_branch = e () => (float[2,3] r) { r = Neg(x) }>
    """
    result = sanitize(model_at(12, nodes), ConversionConfig())
    onnx.checker.check_model(ir.serde.serialize_model(result.model), full_check=True)
    assert result.changes[-1].detail == "opset raised from 12 to 13, 2 nodes rewritten"


def test_a_raise_that_rewrites_a_node_is_to_be_compared():
    text = '<ir_version: 7, opset_import: ["": 11]> g (float[2,3,4] x) => (float[2,3,4] y) { y = Softmax(x) }'
    result = sanitize(ir.serde.deserialize_model(onnx.parser.parse_model(text)), ConversionConfig())
    assert opset_rewrote_nodes(result.changes)
