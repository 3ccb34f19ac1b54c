import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.sanitize import sanitize
from tests.onnx_models import operator_types, run_in_onnxruntime

CONFIG = ConversionConfig()
X = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
HEAD = """
two = Constant<value = float {2.0}>() eps = Constant<value = float {0.0123}>()
m = ReduceMean<axes = [-1]>(x) d = Sub(x, m)
"""
ROOT = "v = ReduceMean<axes = [-1]>(p) a = Add(v, eps) r = Sqrt(a)"
TAIL = "n = Div(d, r) t = Mul(n, scale) y = Add(t, bias)"
VARIANTS = {
    "as torch writes it": HEAD + "p = Pow(d, two)" + ROOT + TAIL,
    "square by multiplication": HEAD + "p = Mul(d, d) v = ReduceMean<axes = [2]>(p) a = Add(eps, v) r = Sqrt(a)" + TAIL,
    "two subtractions": HEAD + "e = Sub(x, m) p = Pow(e, two)" + ROOT + TAIL,
    "casts that do nothing": HEAD
    + "c = Cast<to = 1>(d) p = Pow(c, two)"
    + ROOT
    + "n = Div(d, r) o = Cast<to = 1>(n) t = Mul(o, scale) y = Add(t, bias)",
    "reciprocal": HEAD
    + "p = Pow(d, two)"
    + ROOT
    + "i = Reciprocal(r) n = Mul(i, d) t = Mul(scale, n) y = Add(bias, t)",
    "division of one": HEAD
    + "one = Constant<value = float {1.0}>() p = Pow(d, two)"
    + ROOT
    + "i = Div(one, r) n = Mul(d, i) t = Mul(n, scale) y = Add(t, bias)",
    "no bias": HEAD + "p = Pow(d, two)" + ROOT + "n = Div(d, r) y = Mul(n, scale)",
}
TORCH = VARIANTS["as torch writes it"]


def built(nodes: str, opset: int = 17, outputs: str = "float[2,5,4] y") -> onnx.ModelProto:
    weights = "float[4] scale = {1, 2, -0.5, 3}, float[4] bias = {0.5, 0, 1, -2}"
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> g (float[2,5,4] x) => ({outputs}) <{weights}> {{ {nodes} }}'
    )
    for index, node in enumerate(proto.graph.node):
        node.name = f"n{index}"
    return proto


def sanitized(proto: onnx.ModelProto, config: ConversionConfig = CONFIG) -> tuple[onnx.ModelProto, tuple]:
    result = sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), config)
    after = ir.serde.serialize_model(result.model)
    onnx.checker.check_model(after, full_check=True)
    return after, result.changes


def run(proto: onnx.ModelProto) -> list[np.ndarray]:
    return run_in_onnxruntime(proto, {"x": X})


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_way_exporters_write_it_is_fused_and_computes_the_same(name: str):
    before = built(VARIANTS[name])
    after, _ = sanitized(before)
    assert [kind for kind in operator_types(after) if kind != "Constant"] == ["LayerNormalization"]
    assert [value.name for value in after.graph.output] == ["y"]
    np.testing.assert_allclose(run(after)[0], run(before)[0], rtol=2e-6, atol=2e-6)


def test_axes_given_as_an_input_are_understood():
    nodes = TORCH.replace("ReduceMean<axes = [-1]>(x)", "ReduceMean(x, axes)").replace(
        "ReduceMean<axes = [-1]>(p)", "ReduceMean(p, axes)"
    )
    before = built("axes = Constant<value = int64[1] {-1}>()" + nodes, opset=18)
    after, _ = sanitized(before)
    assert operator_types(after) == ["LayerNormalization"]
    np.testing.assert_allclose(run(after)[0], run(before)[0], rtol=2e-6, atol=2e-6)


def test_the_fused_node_says_what_it_replaces_and_keeps_name_epsilon_and_metadata():
    proto = built(TORCH)
    proto.graph.node[-1].metadata_props.add(key="origin", value="block 1")
    after, changes = sanitized(proto)
    node = after.graph.node[0]
    replaced = ["n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10"]
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    assert node.name == "n10"
    assert json.loads(metadata["autocast.replaces"]) == replaced
    assert metadata["origin"] == "block 1"
    assert attributes == {"axis": -1, "epsilon": np.float32(0.0123), "stash_type": 1}
    assert changes[-1].nodes == tuple(replaced)


def test_a_normalisation_in_a_body_is_fused_there():
    inner = TORCH.replace("y = Add(t, bias)", "z = Add(t, bias)")
    before = built(
        "k = Constant<value = bool {1}>() y = If (k) <then_branch = t () => (float[2,5,4] z) {" + inner + "},"
        "else_branch = e () => (float[2,5,4] z) { z = Neg(x) }>"
    )
    after, _ = sanitized(before)
    branches = {attribute.name: attribute.g for attribute in after.graph.node[-1].attribute}
    assert [node.op_type for node in branches["then_branch"].node] == ["LayerNormalization"]
    np.testing.assert_allclose(run(after)[0], run(before)[0], rtol=2e-6, atol=2e-6)


Y = "float[2,5,4] y"
LEFT_ALONE = {
    "an inner value is an output": (TORCH, 17, Y + ", float[2,5,4] n"),
    "an inner value has another reader": (TORCH + " z = Neg(v)", 17, Y + ", float[2,5,1] z"),
    "another axis": (TORCH.replace("[-1]", "[1]"), 17, Y),
    "the axes differ": (TORCH.replace("ReduceMean<axes = [-1]>(p)", "ReduceMean<axes = [1]>(p)"), 17, Y),
    "another exponent": (TORCH.replace("{2.0}", "{4.0}"), 17, Y),
    "the mean is of something else": (
        TORCH.replace("m = ReduceMean<axes = [-1]>(x)", "m = ReduceMean<axes = [-1]>(w)").replace(
            "two =", "w = Abs(x) two ="
        ),
        17,
        Y,
    ),
    "the scale is computed": (
        TORCH.replace("Mul(n, scale)", "Mul(n, q)").replace("two =", "q = Neg(scale) two ="),
        17,
        Y,
    ),
    "no scale at all": (TORCH.replace(TAIL, "n = Div(d, r) y = Neg(n)"), 17, Y),
}


@pytest.mark.parametrize("name", list(LEFT_ALONE))
def test_what_is_no_layer_normalisation_is_left_alone(name: str):
    nodes, opset, outputs = LEFT_ALONE[name]
    before = built(nodes, opset, outputs)
    after, _ = sanitized(before)
    assert operator_types(after) == operator_types(before)


def test_a_bias_that_is_no_vector_stays_an_addition():
    before = built(TORCH.replace("Add(t, bias)", "Add(t, x)"))
    after, _ = sanitized(before)
    assert operator_types(after) == ["LayerNormalization", "Add"]
    np.testing.assert_allclose(run(after)[0], run(before)[0], rtol=2e-6, atol=2e-6)


def test_the_pass_can_be_switched_off():
    before = built(TORCH)
    after, _ = sanitized(before, ConversionConfig(fuse_layer_norm=False))
    assert operator_types(after) == operator_types(before)


def test_a_constant_that_others_read_stays():
    before = built(TORCH + " z = Mul(y, two)", outputs="float[2,5,4] z")
    after, _ = sanitized(before)
    assert operator_types(after) == ["Constant", "LayerNormalization", "Mul"]


def test_the_axis_may_be_what_a_constant_lists():
    nodes = TORCH.replace("<axes = [-1]>(x)", "(x, ax)").replace("<axes = [-1]>(p)", "(p, ax)")
    after, _ = sanitized(built("ax = Constant<value_ints = [-1]>()" + nodes, opset=18))
    assert operator_types(after) == ["LayerNormalization"]
