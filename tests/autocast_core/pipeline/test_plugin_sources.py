"""TensorRT plugins where files have them: in ONNX's own domain, or in one that is not imported."""

import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.errors import ModelError
from tests.onnx_models import interface_types

HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
IDENTITY_CONV = """g (float[1,1,6,6] x) => (float[1,1,5,5] y) <float[1,1,2,2] w = {1,2,3,4}, float[1,1,1,1] v = {1}> {
  [conv] a = Conv(x, w) [plugin] b = IdentityConv<kernel_shape = [1, 1], group = 1>(a, v) [relu] y = Relu(b)
}"""
"""As NVIDIA's example of a plugin with AutoCast."""
NMS = """g (float[b,9,4] boxes, float[b,9,3] sc) => (int32[b,1] n, float[b,5,4] nb, float[b,5] ns, {last}[b,5] nc) {{
  [sigmoid] s = Sigmoid(sc)
  [nms] n, nb, ns, nc = {operator}<plugin_version = "1", max_output_boxes = 5>(boxes, s)
}}"""
SOURCES = {
    "IdentityConv in the default domain": IDENTITY_CONV,
    "IdentityConv in a domain without an import": IDENTITY_CONV.replace("IdentityConv", "nvidia.IdentityConv"),
    "IdentityConv in trt.plugins without an import": IDENTITY_CONV.replace("IdentityConv", "trt.plugins.IdentityConv"),
    "EfficientNMS_TRT in the default domain": NMS.format(operator="EfficientNMS_TRT", last="int32"),
    "BatchedNMS_TRT in the default domain": NMS.format(operator="BatchedNMS_TRT", last="float"),
    "EfficientNMS_TRT in a domain without an import": NMS.format(operator="TRT.EfficientNMS_TRT", last="int32"),
}


def source(tmp_path, text):
    path = tmp_path / "source.onnx"
    onnx.save(onnx.parser.parse_model(HEAD + text), path)
    return path


def converted(path, **options):
    out = path.with_name("out.onnx")
    return convert_file(path, out, ConversionConfig(**options)), onnx.load(out)


@pytest.mark.parametrize("text", SOURCES.values(), ids=SOURCES)
def test_plugins_are_moved_to_their_domain_and_stay_fp32(tmp_path, text):
    done, model = converted(source(tmp_path, text), keep_io_types=True)
    (plugin,) = [node for node in model.graph.node if node.domain]
    assert plugin.domain == "trt.plugins"
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17), ("trt.plugins", 1)]
    (change,) = [change for change in done.plan.sanitize if change.step == "plugins"]
    assert change.detail in done.warnings
    assert f"moved to the domain trt.plugins: {plugin.op_type}" in change.detail
    decisions = {decision.op_type: str(decision.precision) for decision in done.plan.nodes}
    assert decisions.pop(plugin.op_type) == "fp32"
    assert set(decisions.values()) == {"fp16"}
    casts = {node.output[0]: node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"}
    floats = set(interface_types(model)) | {v for v, kind in casts.items() if kind == 1} | {"v"}
    assert set(plugin.input) <= floats


@pytest.mark.parametrize("text", SOURCES.values(), ids=SOURCES)
def test_a_strict_source_is_left_as_it_is(tmp_path, text):
    path = source(tmp_path, text)
    if text == SOURCES["EfficientNMS_TRT in the default domain"]:  # ONNX Runtime has a schema of it there
        _, model = converted(path, strict_source=True)
        assert {node.domain for node in model.graph.node} == {""}
        return
    with pytest.raises(ModelError, match=r"not valid ONNX: No (Op registered for|opset import for domain)"):
        converted(path, strict_source=True)


def test_plugins_in_a_body_and_in_a_function_are_moved_too(tmp_path):
    path = tmp_path / "source.onnx"
    text = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
    g (float[4] x, bool c) => (float[4] y) {
      h = local.f(x)
      y = If(c) <then_branch = t () => (float[4] p) { p = MyAct(h) }, else_branch = e () => (float[4] q) { q = Neg(h) }>
    }
    <domain: "local", opset_import: ["": 17]> f (a) => (b) { b = MyAct(a) }"""
    onnx.save(onnx.parser.parse_model(text), path)
    done, _ = converted(path)
    detail = next(change.detail for change in done.plan.sanitize if change.step == "plugins")
    assert detail == "2 nodes are taken for TensorRT plugins and moved to the domain trt.plugins: MyAct"
    decisions = [str(each.precision) for each in done.plan.nodes if each.op_type == "MyAct"]
    assert decisions == ["fp32", "fp32"]


def test_a_plugin_in_its_domain_with_an_import_is_left_as_it_is(tmp_path):
    path = tmp_path / "source.onnx"
    text = '<ir_version: 8, opset_import: ["": 17, "my.plugins": 3]> '
    onnx.save(onnx.parser.parse_model(text + IDENTITY_CONV.replace("IdentityConv", "my.plugins.IdentityConv")), path)
    done, model = converted(path)
    assert [node.domain for node in model.graph.node if node.op_type == "IdentityConv"] == ["my.plugins"]
    assert "plugins" not in [change.step for change in done.plan.sanitize]


def test_a_plan_of_such_a_source_is_applied_to_it_again(tmp_path):
    path = source(tmp_path, IDENTITY_CONV)
    done, first = converted(path)
    convert_file(path, tmp_path / "again.onnx", plan=done.plan)
    assert onnx.load(tmp_path / "again.onnx") == first


def test_the_precision_of_a_moved_plugin_can_be_given(tmp_path):
    done, model = converted(source(tmp_path, IDENTITY_CONV), trt_plugins_precision=("IdentityConv:fp16",))
    assert {str(decision.precision) for decision in done.plan.nodes} == {"fp16"}
    assert not [node for node in model.graph.node if node.op_type == "Cast"]


def test_what_a_custom_operator_makes_without_a_declaration_is_taken_as_its_input_with_a_warning(tmp_path):
    done, model = converted(source(tmp_path, IDENTITY_CONV))
    assert "nothing declares the types that custom operators (IdentityConv) make: taken 'b' as FLOAT" in done.warnings
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    cast = next(node for node in model.graph.node if node.output[0] == relu.input[0])
    assert (cast.op_type, cast.input[0]) == ("Cast", "b")


def test_what_a_custom_operator_declares_is_believed(tmp_path):
    path = source(tmp_path, IDENTITY_CONV)
    model = onnx.load(path)
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1, 1, 5, 5]))
    onnx.save(model, path)
    done, _ = converted(path)
    assert not [warning for warning in done.warnings if "nothing declares" in warning]


def test_a_strict_source_declares_what_custom_operators_make(tmp_path):
    path = tmp_path / "source.onnx"
    head = '<ir_version: 8, opset_import: ["": 17, "my": 1]> '
    text = "g (float[4] x) => (float[4] y) { h = my.Act(x) y = Neg(h) }"
    onnx.save(onnx.parser.parse_model(head + text), path)
    with pytest.raises(ModelError, match="the type of 'h', which the custom operator Act makes: declare"):
        converted(path, strict_source=True)


def test_the_count_of_an_nms_plugin_is_an_integer_without_a_declaration(tmp_path):
    text = NMS.format(operator="EfficientNMS_TRT", last="int32").replace("int32[b,1] n, ", "float[b,1] f, ")
    text = text.replace("(boxes, s)", "(boxes, s) f = Cast<to = 1>(n)")
    done, model = converted(source(tmp_path, text), keep_io_types=True)
    assert not [warning for warning in done.warnings if "nothing declares" in warning]
    assert [node.input[0] for node in model.graph.node if node.op_type == "Cast" and node.output[0] == "f"] == ["n"]


def test_a_source_that_takes_a_plugin_for_another_is_to_blame(tmp_path):
    """The first output of EfficientNMS_TRT is the number of detections, an integer."""
    text = "g (float[2,3] x) => (float[2,3] y) { u = EfficientNMS_TRT(x, x) y = Mul(x, u) }"
    with pytest.raises(ModelError, match=r"not valid ONNX: .*Mul.*inconsistent type tensor\(int32\)"):
        converted(source(tmp_path, text))
