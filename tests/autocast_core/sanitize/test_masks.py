import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.sanitize import mask_paths, sanitize
from autocast_core.sanitize.masks import largest_mask
from tests.onnx_models import run_in_onnxruntime

FP16 = ConversionConfig()
BF16 = ConversionConfig(precision=Precision.BF16)
LOWEST = float(np.finfo(np.float32).min)
SCORES = (np.random.default_rng(0).standard_normal((1, 2, 4, 4)) * 5).astype(np.float32)
TOKENS = np.array([[1, 1, 1, 0]], np.int64)


def built(nodes: str, mask: float = LOWEST, outputs: str = "float[1,2,4,4] y") -> onnx.ModelProto:
    text = f"""
    <ir_version: 8, opset_import: ["": 18]>
    g (float[1,2,4,4] s, int64[1,4] tokens) => ({outputs}) <int64[2] ax = {{1, 2}}, float one = {{1}}> {{
      low = Constant<value_float = {np.float32(mask)!s}>() {nodes}
    }}
    """
    return onnx.parser.parse_model(text)


def sanitized(proto: onnx.ModelProto, config: ConversionConfig = FP16) -> tuple[onnx.ModelProto, tuple, ir.Model]:
    result = sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), config)
    after = ir.serde.serialize_model(result.model)
    onnx.checker.check_model(after, full_check=True)
    return after, tuple(change for change in result.changes if change.step == "masks"), result.model


def constant(proto: onnx.ModelProto) -> float:
    node = next(node for node in proto.graph.node if node.output[0] == "low")
    return float(onnx.numpy_helper.to_array(node.attribute[0].t))


def run(proto: onnx.ModelProto) -> list[np.ndarray]:
    return run_in_onnxruntime(proto, {"s": SCORES, "tokens": TOKENS})


BERT = """
u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) m = Mul(i, low) a = Add(s, m) y = Softmax<axis = -1>(a)
"""
EXPORTED = {
    "one minus mask, times lowest": BERT,
    "selected": "b = Cast<to = 9>(tokens) u = Unsqueeze(b, ax) z = Sub(one, one) m = Where(u, z, low) a = Add(s, m)"
    " y = Softmax<axis = -1>(a)",
    "filled into the scores": "b = Cast<to = 9>(tokens) u = Unsqueeze(b, ax) a = Where(u, s, low)"
    " y = Softmax<axis = -1>(a)",
    "subtracted": "u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) g = Mul(i, low)"
    " n = Sub(g, i) a = Add(n, s) y = Softmax<axis = -1>(a)",
    "expanded and sliced": "u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) m = Mul(i, low)"
    " sh = Shape(s) e = Expand(m, sh) t = Identity(e) a = Add(s, t) y = Softmax<axis = -1>(a)",
    "scaled after masking": "b = Cast<to = 9>(tokens) u = Unsqueeze(b, ax) w = Where(u, s, low)"
    " k = Constant<value_float = 8.0>() a = Div(w, k) y = Softmax<axis = -1>(a)",
    "spread over space": "u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) m = Mul(i, low)"
    " sh = Constant<value_ints = [1, 4, 2, 4]>() e = Expand(m, sh) d = DepthToSpace<blocksize = 2>(e)"
    " rs = Constant<value_ints = [1, 2, 4, 4]>() t = Reshape(d, rs) a = Add(s, t) y = Softmax<axis = -1>(a)",
    "compared with zero as well": "u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) m = Mul(i, low)"
    " z = Sub(one, one) o = Constant<value_float = 0.0>() q = Equal(m, o) w = Where(q, z, low) a = Add(s, w)"
    " y = Softmax<axis = -1>(a)",
}  # fmt: skip


@pytest.mark.parametrize("config", [FP16, BF16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("name", list(EXPORTED))
def test_the_mask_becomes_finite_in_the_low_type_and_the_fp32_result_stays(name: str, config: ConversionConfig):
    before = built(EXPORTED[name])
    after, changes, _ = sanitized(before, config)
    assert constant(after) == -np.float32(largest_mask(config.precision, 1))
    assert len(changes) == 1
    np.testing.assert_array_equal(run(after)[0], run(before)[0])


def test_the_change_names_the_nodes_from_the_constant_to_the_softmax():
    proto = built(BERT)
    for node in proto.graph.node:
        node.name = f"the_{node.output[0]}"
    _, changes, _ = sanitized(proto)
    assert set(changes[0].nodes) == {"the_m", "the_a", "the_y"}


@pytest.mark.parametrize(
    ("mask", "config", "expected"),
    [
        (-1e9, FP16, -3e4),
        (-65504.0, FP16, -3e4),
        (-1e4, FP16, -1e4),
        (-3e4, FP16, -3e4),
        (-np.inf, FP16, -np.inf),
        (-1e9, BF16, -1e9),
        (LOWEST, BF16, -1e38),
    ],
)
def test_only_finite_magnitudes_beyond_the_limit_change(mask: float, config: ConversionConfig, expected: float):
    proto = built(EXPORTED["filled into the scores"], mask=0.0)
    stored = next(node for node in proto.graph.node if node.output[0] == "low").attribute[0]
    stored.f = mask
    assert constant(sanitized(proto, config)[0]) == np.float32(expected)


def test_a_mask_matrix_is_clamped_element_by_element():
    causal = np.triu(np.full((4, 4), -1e9, np.float32), 1) + np.tril(np.full((4, 4), 0.25, np.float32))
    causal[0, 3] = -np.inf
    proto = built("a = Add(s, one) y = Softmax<axis = -1>(a)")
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(causal, "one"))
    after, changes, _ = sanitized(proto)
    expected = np.where(causal == np.float32(-1e9), np.float32(-3e4), causal)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(after.graph.initializer[1]), expected)
    assert changes[0].detail.startswith("5 elements")
    np.testing.assert_array_equal(run(after)[0], run(proto)[0])


LEFT_ALONE = {
    "an output": (BERT, "float[1,2,4,4] y, float[1,1,1,4] m"),
    "another reader": (BERT + " r = Exp(m)", "float[1,2,4,4] y, float[1,1,1,4] r"),
    "a log-softmax": (BERT.replace("Softmax", "LogSoftmax"), "float[1,2,4,4] y"),
    "a factor that is no mask": (
        BERT.replace("Mul(i, low)", "Mul(e, low)").replace("u =", "e = Exp(s) u ="),
        "float[1,2,4,4] y",
    ),
    "no softmax at all": (BERT.replace("Softmax<axis = -1>", "Neg"), "float[1,2,4,4] y"),
    "a sign that unmasks": (BERT.replace("Add(s, m)", "Sub(s, m)"), "float[1,2,4,4] y"),
}


@pytest.mark.parametrize("name", list(LEFT_ALONE))
def test_a_constant_that_is_not_only_a_mask_is_left_alone(name: str):
    nodes, outputs = LEFT_ALONE[name]
    after, changes, _ = sanitized(built(nodes, outputs=outputs))
    assert constant(after) == np.float32(LOWEST)
    assert changes == ()


def test_the_pass_can_be_switched_off():
    assert constant(sanitized(built(BERT), ConversionConfig(clamp_masks=False))[0]) == np.float32(LOWEST)


def test_three_masks_added_together_stay_finite_in_fp16():
    nodes = """
    u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f)
    l1 = Constant<value_float = -1000000000.0>() l2 = Constant<value_float = -1000000000.0>()
    m = Mul(i, low) m1 = Mul(i, l1) m2 = Mul(i, l2)
    a = Add(s, m) a1 = Add(a, m1) a2 = Add(a1, m2) y = Softmax<axis = -1>(a2)
    """
    before = built(nodes)
    after, _, _ = sanitized(before)
    assert 3 * constant(after) > -65504
    np.testing.assert_array_equal(run(after)[0], run(before)[0])


def test_mask_paths_are_known_also_where_nothing_needs_repair():
    _, changes, model = sanitized(built(EXPORTED["filled into the scores"], mask=-10000.0))
    (path,) = mask_paths(model)
    assert changes == ()
    assert (path.constant, path.sign, path.values) == ("low", -1, ("low", "a"))


def test_positive_constants_that_are_subtracted_are_clamped_too():
    nodes = """
    u = Unsqueeze(tokens, ax) f = Cast<to = 1>(u) i = Sub(one, f) m = Mul(i, low)
    a = Sub(s, m) y = Softmax<axis = -1>(a)
    """
    before = built(nodes, mask=1e9)
    after, _, _ = sanitized(before)
    assert constant(after) == 3e4
    np.testing.assert_array_equal(run(after)[0], run(before)[0])
