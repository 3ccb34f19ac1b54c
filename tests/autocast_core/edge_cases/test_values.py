"""Edge cases 68 to 75: values that 16 bits do not hold."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
HEAD22 = '<ir_version: 10, opset_import: ["": 22]>\n'

MASKED = (
    HEAD
    + """g (float[2,3] x, int64[2,3] m) => (float[2,3] y) <float one = {1}, float low = {LOW}> {
  f = Cast<to = 1>(m) i = Sub(one, f) b = Mul(i, low) s = Add(x, b) y = Softmax(s)
}"""
)
SELECTED = (
    HEAD
    + """g (float[2,3] x, bool[2,3] m) => (float[2,3] y) <float low = {LOW}> { s = Where(m, x, low) y = Softmax(s) }"""
)
TABLE = (
    HEAD
    + """g (float[2,3] x) => (float[2,3] y) <float[2,3] b = {0, LOW, 0, 0, 0, LOW}> {
  s = Add(x, b) t = Add(s, b) [Softmax_1] y = Softmax(t)
}"""
)


@pytest.mark.parametrize("low", ["-3.4028234e38", "-1e9", "-65504", "-10000"])
@pytest.mark.parametrize("text", [MASKED, SELECTED, TABLE])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_masks_neither_force_fp32_nor_become_infinite(convert, text, low, precision):
    """Additive and selected masks are clamped, so Softmax can be low (edge case 68)."""
    mask = np.array([[1, 0, 1], [1, 1, 0]])
    feeds = {"x": X}
    if text is not TABLE:
        feeds["m"] = mask if text is MASKED else mask.astype(bool)
    found = convert(text.replace("LOW", low), feeds, precision)
    assert found.decision("Softmax_1") == (precision, "default")
    assert all(np.isfinite(output).all() for output in found.outputs())
    found.assert_close(tolerance=2e-2 if precision == "bf16" else 2e-3)


def test_a_row_of_masks_alone_is_not_nan(convert):
    """Softmax of a fully masked row stays finite; a row of infinities would give NaN (edge case 68)."""
    found = convert(MASKED.replace("LOW", "-3.4028234e38"), {"x": X, "m": np.array([[0, 0, 0], [1, 1, 0]])})
    assert np.isfinite(found.outputs()[0]).all()


@pytest.mark.parametrize("kind", ["initializer", "constant"])
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_true_infinities_and_nan_survive(convert, kind, precision):
    """Infinity and NaN in weights are not clamped (edge case 69, AutoCast defects 2 and 3)."""
    model = onnx.parser.parse_model(
        HEAD22 + "g (bool[4] c, float[4] x) => (float[4] y, float[4] w) { y = Where(c, x, w) }"
    )
    tensor = onnx.numpy_helper.from_array(np.array([np.inf, -np.inf, np.nan, 1.0], np.float32), "w")
    if kind == "initializer":
        model.graph.initializer.append(tensor)
    else:
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["w"], value=tensor))
    found = convert(model, {"c": np.array([False] * 4), "x": np.ones(4, np.float32)}, precision, keep_io_types=True)
    np.testing.assert_array_equal(found.outputs()[1], np.array([np.inf, -np.inf, np.nan, 1.0], np.float32))
    np.testing.assert_array_equal(found.outputs()[0], np.array([np.inf, -np.inf, np.nan, 1.0], np.float32))


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_mask_of_minus_infinity_survives_and_does_not_force_fp32(convert, precision):
    """An infinite mask is exact in 16 bits and keeps nothing in FP32 (edge case 69)."""
    model = onnx.parser.parse_model(HEAD22 + "g (float[2,3] x) => (float[2,3] y) { s = Add(x, b) y = Softmax(s) }")
    mask = np.array([[0, -np.inf, 0], [0, 0, -np.inf]], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(mask, "b"))
    found = convert(model, {"x": X}, precision)
    np.testing.assert_array_equal(found.initializer("b").astype(np.float32), mask)
    assert found.decision("Add_1") == found.decision("Softmax_1") == (precision, "default")
    found.assert_close(tolerance=2e-2 if precision == "bf16" else 2e-3)


def test_an_infinite_literal_that_is_no_mask_keeps_its_node_where_data_is_infinite(convert):
    """Infinite reference data keeps its node in FP32 (edge case 69, AutoCast defect 6)."""
    found = convert(
        HEAD + "g (float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> { a = Log(x) b = Mul(a, w) y = Exp(b) }",
        {"x": np.array([0.0, 1.0, 2.0], np.float32)},
    )
    assert found.decision("Log_1") == ("fp32", "io_range")


def test_nan_in_the_reference_keeps_the_node(convert):
    """The reason says NaN (edge case 69, AutoCast defect 6)."""
    found = convert(HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Sqrt(x) y = Neg(a) }", {"x": X})
    assert found.decision("Sqrt_1") == ("fp32", "io_range")
    assert "NaN" in found.conversion.plan.by_id()["graph/Sqrt_1"].reason


def test_underflow_keeps_the_sign(convert):
    """Weights that round to zero keep their sign and are counted in the plan (edge case 70, AutoCast defect 1)."""
    found = convert(
        HEAD + "g (float[3] x) => (float[3] y) <float[3] w = {-1.0e-9, 1.0e-9, -0.0}> { y = Mul(x, w) }",
        {"x": X[0]},
        small_values=False,
    )
    weights = found.initializer("w")
    assert weights.dtype == np.float16 and (weights == 0).all()
    np.testing.assert_array_equal(np.signbit(weights), [True, False, True])
    (change,) = found.conversion.plan.weights
    assert (change.tensor, change.clamped, change.underflowed) == ("w", 0, 2)


def test_weights_that_vanish_keep_their_node(convert):
    """The rule small_values keeps the node in FP32 (edge case 70, failure 13 on real models)."""
    found = convert(
        HEAD + "g (float[3] x) => (float[3] y) <float[3] w = {-1.0e-9, 1.0e-9, 2.0e-9}> { y = Mul(x, w) }", {"x": X[0]}
    )
    assert found.decision("Mul_1") == ("fp32", "small_values")
    assert found.initializer("w").dtype == np.float32


@pytest.mark.parametrize("value", [65519.0, 65520.0, 1e6])
def test_values_beyond_fp16_keep_their_node_or_become_the_largest(convert, value):
    """A forced conversion clamps and the plan counts it (edge cases 68 and 71)."""
    text = HEAD + f"g (float[3] x) => (float[3] y) <float[3] w = {{1.0, {value}, -{value}}}> {{ y = Mul(x, w) }}"
    kept = convert(text, {"x": X[0] * 1e-6}, small_values=False)
    assert kept.decision("Mul_1") == ("fp32", "initializer_range")
    forced = convert(text, {"x": X[0] * 1e-6}, small_values=False, op_types_to_include=("Mul",))
    np.testing.assert_array_equal(forced.initializer("w"), np.array([1, 65504, -65504], np.float16))
    (change,) = forced.conversion.plan.weights
    assert change.clamped == 2


def test_65504_is_representable_in_fp16_but_not_in_bf16(convert):
    """It becomes 65536 in BF16, which is ordinary rounding (edge case 71)."""
    found = convert(
        HEAD22 + "g (float[1] x) => (float[1] y) <float[1] w = {65504.0}> { y = Mul(x, w) }",
        {"x": np.array([1e-3], np.float32)},
        "bf16",
    )
    assert float(found.initializer("w").astype(np.float32)[0]) == 65536.0
    found.assert_close(tolerance=1e-2)


@pytest.mark.parametrize(
    ("precision", "length", "rule"),
    [("fp16", 2049, "whole_numbers"), ("bf16", 300, "whole_numbers"), ("fp16", 2048, None), ("bf16", 256, None)],
)
def test_positions_beyond_the_exact_integers_keep_their_nodes(convert, precision, length, rule):
    """Whole numbers above 2048 (FP16) or 256 (BF16) stay in FP32 (edge case 71)."""
    found = convert(
        HEAD22
        + (
            f"g (float[{length}] x, int64[{length}] p) => (float[{length}] y) <float k = "
            f"{{0.001}}> {{ f = Cast<to = 1>(p) m = Mul(f, k) y = Add(m, x) }}"
        ),
        {"x": np.ones(length, np.float32), "p": np.arange(1, length + 1)},
        precision,
        data_max=1e5,
        small_values=False,
    )
    assert found.decision("Mul_1") == ((precision, "default") if rule is None else ("fp32", rule))


def test_a_cumulative_sum_of_ones_is_counted(convert):
    """A CumSum that counts beyond 2048 stays in FP32 (edge case 71)."""
    found = convert(
        HEAD + """g (int64[1,3000] m) => (float[1,3000] y) <int64 axis = {1}, float k = {0.01}> {
          f = Cast<to = 1>(m) c = CumSum(f, axis) y = Mul(c, k)
        }""",
        {"m": np.ones((1, 3000), np.int64)},
        data_max=1e5,
    )  # fmt: skip
    assert found.decision("CumSum_1") == found.decision("Mul_1") == ("fp32", "whole_numbers")
    found.assert_close()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_sines_of_positions_are_right_for_any_length(convert, precision):
    """Calibrated on short sequences, the model is right on long ones (edge case 71)."""
    text = (
        HEAD22
        + """g (int64[n] p) => (float[n,4] c, float[n,4] s) <float[1,4] f = {1.0, 0.1, 0.01, 0.001},
            int64[1] ax = {1}> {
      q = Cast<to = 1>(p) u = Unsqueeze(q, ax) a = Mul(u, f) c = Cos(a) s = Sin(a)
    }"""
    )
    found = convert(text, {"p": np.arange(3)}, precision, small_values=False)
    assert found.decision("Mul_1") == found.decision("Sin_1") == ("fp32", "angles")
    found.assert_close({"p": np.array([4095, 4096, 100001])}, tolerance=1e-2 if precision == "bf16" else 1e-3)


def test_large_angles_keep_their_nodes(convert):
    """The arguments of Sin and Cos stay in FP32 (edge case 71)."""
    found = convert(
        HEAD + "g (float[2,3] x) => (float[2,3] y) <float k = {100.0}> { a = Mul(x, k) y = Sin(a) }",
        {"x": X * np.float32(0.7)},
    )
    assert found.decision("Mul_1") == found.decision("Sin_1") == ("fp32", "conditioning")
    found.assert_close()


def test_indices_that_pass_through_floats_stay_exact(convert):
    """Float arithmetic on indices stays in FP32 (edge cases 71 and 75)."""
    found = convert(
        HEAD + """g (float[5000] x, int64[2] i) => (float[2] y) <float two = {2.0}> {
          f = Cast<to = 1>(i) d = Div(f, two) e = Mul(d, two) j = Cast<to = 7>(e) g = Gather(x, j) y = Exp(g)
        }""",
        {"x": np.linspace(-1, 1, 5000, dtype=np.float32), "i": np.array([3, 4])},
    )  # fmt: skip
    assert found.decision("Div_1") == found.decision("Mul_1") == ("fp32", "shape_arithmetic")
    found.assert_close({"x": np.linspace(-1, 1, 5000, dtype=np.float32), "i": np.array([4999, 2051])})


@pytest.mark.parametrize(
    ("text", "data", "op_type"),
    [
        ("<float e = {1.0e-12}> { s = Sqrt(x) a = Add(s, e) y = Div(x, a) }", 1e-9, "Add"),
        ("{ a = Exp(x) y = ReduceSum<keepdims = 1>(a) }", 10.0, "ReduceSum"),
        ("{ a = Mul(x, x) y = ReduceMean<keepdims = 1>(a) }", 300.0, "Mul"),
        ("<float n = {4.0}> { y = Pow(x, n) }", 30.0, "Pow"),
        ("{ y = ReduceLogSumExp<keepdims = 1>(x) }", 600.0, "ReduceLogSumExp"),
    ],
)  # fmt: skip
def test_patterns_that_overflow_or_vanish_are_seen_in_their_data(convert, text, data, op_type):
    """Epsilons, squares and sums of exponentials are kept by measured range (edge case 72, AutoCast defect 4)."""
    dims = "1,1" if "Reduce" in text else "1,3"
    found = convert(
        HEAD + f"g (float[1,3] x) => (float[{dims}] y) {text}", {"x": np.array([[0.7, 1.0, 0.9]], np.float32) * data}
    )
    assert found.decision(f"{op_type}_1")[0] == "fp32"


@pytest.mark.parametrize(
    "text", ["y = ReduceMean<keepdims = 1, axes = [1]>(x)", "y = ReduceSum<keepdims = 1>(x, ax)", "y = Softmax(x)"]
)
def test_deep_accumulations_are_kept_where_the_depth_is_limited(convert, text):
    """max_depth_of_reduction applies to every reducing operator (edge case 73, AutoCast defects 16 and 17)."""
    dims = "1,5000" if "Softmax" in text else "1,1"
    found = convert(
        HEAD + f"g (float[1,5000] x) => (float[{dims}] y) <int64[1] ax = {{1}}> {{ {text} }}",
        {"x": np.ones((1, 5000), np.float32) * 0.01},
        max_depth_of_reduction=4096,
        small_values=False,
        opset=17,
    )
    assert found.conversion.plan.nodes[0].rule == "reduction_depth"


@pytest.mark.parametrize(
    "text",
    [
        "y = ArgMax<axis = 1, keepdims = 0>(x)",
        "v, y = TopK<axis = 1>(x, k)",
        "f = Round(x) y = Cast<to = 7>(f)",
        "g = Greater(x, t) y = Cast<to = 7>(g)",
    ],
)
def test_decisions_are_compared_as_decisions(convert, text):
    """Where values are exact in 16 bits, selected indices do not change (edge case 74)."""
    shape = {"ArgMax": "2", "TopK": "2,2"}.get(text.split(" = ")[1].split("<")[0], "2,3")
    found = convert(
        HEAD + f"g (float[2,3] x) => (int64[{shape}] y) <int64[1] k = {{2}}, float t = {{0.5}}> {{ {text} }}", {"x": X}
    )
    found.assert_close()


def test_float_shape_arithmetic_stays_fp32(convert):
    """Sizes are computed in FP32, also without any data (edge case 75)."""
    text = (
        HEAD
        + """g (float[1,1,h,w] x) => (float[1,1,hh,ww] y) <float half = {0.333}, int64[2] first = {1,
            1}, int64[1] two = {2}, int64[1] four = {4}> {
      a = Relu(x) s = Shape(x) t = Slice(s, two, four) f = Cast<to = 1>(t) m = Mul(f, half) r = Floor(m)
            i = Cast<to = 7>(r)
      sizes = Concat<axis = 0>(first, i) y = Resize<mode = "nearest">(a, , , sizes)
    }"""
    )
    image = np.zeros((1, 1, 6004, 7), np.float32)
    for config in ({}, {"data_max": float("inf")}):
        found = convert(text, {"x": image[:, :, :8]}, **config)
        assert found.decision("Mul_1") == found.decision("Floor_1") == ("fp32", "shape_arithmetic")
        assert found.decision("Resize_2")[0] == "fp16"
    assert found.outputs({"x": image})[0].shape == found.expected({"x": image})[0].shape


def test_computed_scales_of_a_resize_stay_fp32(convert):
    """Scales computed from shapes are computed in FP32 (edge case 75)."""
    found = convert(
        HEAD + """g (float[1,1,4,4] x, int64[4] target) => (float[n,m,hh,ww] y) {
          a = Relu(x) s = Shape(a) f = Cast<to = 1>(s) t = Cast<to = 1>(target) d = Div(t, f)
          y = Resize<mode = "nearest">(a, , d)
        }""",
        {"x": np.ones((1, 1, 4, 4), np.float32), "target": np.array([1, 1, 6, 10])},
    )  # fmt: skip
    assert found.decision("Div_2") == ("fp32", "shape_arithmetic")
    found.assert_close()


def test_a_rule_without_data_still_decides_and_says_so(tmp_path):
    """Without calibration data the rules that need none decide, with a warning (edge case 69)."""
    source, target = tmp_path / "source.onnx", tmp_path / "target.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "custom": 1]> g (float[2,3] x) => (float[2,3] y) '
        "<float[3] w = {1e6, 1, 1}> { b = custom.Foo(x) a = Mul(b, w) y = Neg(a) }"
    )
    model.graph.value_info.append(onnx.helper.make_tensor_value_info("b", 1, [2, 3]))
    onnx.save(model, source)
    done = convert_file(source, target, ConversionConfig())
    assert done.plan.by_id()["graph/Mul_1"].rule == "initializer_range"
    assert done.plan.by_id()["graph/Neg_1"].precision == Precision.FP16
    assert done.plan.data.origin == "none"
    assert any(warning.startswith("no calibration") for warning in done.warnings)


@pytest.mark.parametrize("kind", ["initializer", "Constant"])
def test_a_large_finite_literal_never_becomes_infinite(convert, kind):
    """Initializers and Constants are clamped alike (edge case 68, AutoCast defect 3)."""
    declared, made = (
        ("<float w = {-1e9}>", "") if kind == "initializer" else ("", "w = Constant<value = float {-1e9}>()")
    )
    found = convert(
        HEAD + f"g (float[3] x) => (float[3] y, float w) {declared} {{ {made} y = Max(x, w) }}",
        {"x": X[0]},
        data_max=float("inf"),
        init_max=float("inf"),
        small_values=False,
    )
    assert found.decision("Max_1")[0] == "fp16"
    np.testing.assert_array_equal(found.outputs()[1], np.float32(-65504))
    np.testing.assert_array_equal(found.outputs()[0], X[0])


def test_an_fp64_constant_that_vanishes_keeps_its_node(convert):
    """The range check covers FP64 constants (edge cases 34 and 70, AutoCast defect 5)."""
    found = convert(
        HEAD + "g (double[3] x) => (double[3] y) <double[3] w = {1.0e-30, 2.0e-30, 1.0e-29}> { y = Mul(x, w) }",
        {"x": X[0].astype(np.float64)},
    )
    assert found.decision("Mul_1") == ("fp32", "small_values")
    assert found.initializer("w").dtype == np.float32
