import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.sanitize import sanitize
from tests.onnx_models import operator_types, run_in_onnxruntime

ASKED = ConversionConfig(fuse_rms_norm=True)
X = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
SQUARE = "two = Constant<value = float {2.0}>() p = Pow(x, two)"
ROOT = "eps = Constant<value = float {0.0123}>() v = ReduceMean(p, last) a = Add(v, eps) r = Sqrt(a)"
TAIL = "i = Reciprocal(r) n = Mul(x, i) y = Mul(scale, n)"
TORCH = f"{SQUARE} {ROOT} {TAIL}"
VARIANTS = {
    "as torch writes it": TORCH,
    "square by multiplication": f"p = Mul(x, x) {ROOT} {TAIL}",
    "epsilon first": TORCH.replace("Add(v, eps)", "Add(eps, v)"),
    "quotient": f"{SQUARE} {ROOT} n = Div(x, r) y = Mul(n, scale)",
    "division of one": f"one = Constant<value = float {{1.0}}>() {SQUARE} {ROOT} i = Div(one, r) n = Mul(x, i)"
    " y = Mul(scale, n)",
    "casts that do nothing": f"c = Cast<to = 1>(x) {SQUARE} {ROOT} i = Reciprocal(r) n = Mul(x, i) o = Cast<to = 1>(n)"
    " y = Mul(scale, o)".replace("Pow(x", "Pow(c"),
}


def built(nodes: str, opset: int = 18, outputs: str = "float[2,5,4] y", x: str = "float[2,5,4] x") -> onnx.ModelProto:
    weights = "float[4] scale = {1, 2, -0.5, 3}, int64[1] last = {-1}"
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]> g ({x}) => ({outputs}) <{weights}> {{ {nodes} }}'
    )
    for index, node in enumerate(proto.graph.node):
        node.name = f"n{index}"
    return proto


def sanitized(proto: onnx.ModelProto, config: ConversionConfig = ASKED) -> onnx.ModelProto:
    after = ir.serde.serialize_model(
        sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), config).model
    )
    onnx.checker.check_model(after, full_check=True)
    return after


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_way_exporters_write_it_is_fused_and_computes_the_same(name: str):
    before = built(VARIANTS[name])
    after = sanitized(before)
    assert [kind for kind in operator_types(after) if kind != "Constant"] == ["RMSNormalization"]
    assert (after.opset_import[0].version, after.ir_version) == (23, 11)
    np.testing.assert_allclose(
        run_in_onnxruntime(after, {"x": X})[0], run_in_onnxruntime(before, {"x": X})[0], rtol=2e-6, atol=2e-6
    )


def test_the_fused_node_says_what_it_replaces_and_keeps_name_and_epsilon():
    (node,) = sanitized(built(TORCH)).graph.node
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    assert (list(node.input), node.name) == (["x", "scale"], "n8")
    assert attributes == {"axis": -1, "epsilon": np.float32(0.0123), "stash_type": 1}
    assert json.loads(metadata["autocast.replaces"]) == ["n1", "n3", "n4", "n5", "n6", "n7", "n8"]


def test_it_is_done_only_where_asked():
    after = sanitized(built(TORCH), ConversionConfig())
    assert "RMSNormalization" not in operator_types(after)
    assert after.opset_import[0].version < 23


def test_a_stream_that_others_read_is_no_obstacle_be_it_cast_or_not():
    after = sanitized(built(f"{TORCH} z = Add(x, y)", outputs="float[2,5,4] z"))
    assert operator_types(after) == ["RMSNormalization", "Add"]
    cast = f"c = Cast<to = 1>(x) {TORCH} z = Add(c, y)".replace("Pow(x", "Pow(c").replace("Mul(x", "Mul(c")
    assert operator_types(sanitized(built(cast, outputs="float[2,5,4] z"))) == ["Cast", "RMSNormalization", "Add"]


Y = "float[2,5,4] y"
LEFT_ALONE = {
    "an inner value is an output": (TORCH, Y + ", float[2,5,4] n"),
    "an inner value has another reader": (TORCH + " z = Neg(v)", Y + ", float[2,5,1] z"),
    "another exponent": (TORCH.replace("{2.0}", "{4.0}"), Y),
    "what is divided is something else": (TORCH.replace("Mul(x, i)", "Mul(p, i)"), Y),
    "the scale is computed": ("q = Neg(scale) " + TORCH.replace("Mul(scale, n)", "Mul(q, n)"), Y),
    "another axis": ("one = Constant<value = int64[1] {1}>() " + TORCH.replace("(p, last)", "(p, one)"), Y),
}


@pytest.mark.parametrize("name", list(LEFT_ALONE))
def test_what_is_no_normalisation_by_the_root_mean_square_is_left_alone_and_so_is_the_opset(name: str):
    nodes, outputs = LEFT_ALONE[name]
    after = sanitized(built(nodes, outputs=outputs))
    assert "RMSNormalization" not in operator_types(after)
    assert after.opset_import[0].version < 23


def test_a_last_axis_of_unknown_length_is_left_alone():
    after = sanitized(built(TORCH, outputs="float[2,5,N] y", x="float[2,5,N] x"))
    assert "RMSNormalization" not in operator_types(after)


def test_an_opset_that_was_asked_for_is_raised_with_a_warning():
    source = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(built(TORCH)))
    assert sanitize(source, ConversionConfig(fuse_rms_norm=True, opset=20)).warnings == (
        "opset raised from 20 to 23 for RMSNormalization",
    )
