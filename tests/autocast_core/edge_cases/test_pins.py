"""Edge cases 44 to 56: inputs that do not follow their node, as ONNX's schemas say."""

import numpy as np
import onnx
import pytest

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
HEAD22 = '<ir_version: 10, opset_import: ["": 22]>\n'
PRECISIONS = pytest.mark.parametrize("precision", ["fp16", "bf16"])
IMAGE = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)


@PRECISIONS
def test_scales_of_a_resize_stay_fp32_even_where_others_share_them(convert, precision):
    """ONNX allows only FP32 scales, whoever else reads them (edge case 44)."""
    found = convert(
        HEAD22 + """g (float[1,1,4,4] x) => (float[1,1,8,8] y, float[4] z) <float[4] s = {1, 1, 2, 2}> {
          y = Resize<mode = "linear">(x, , s) z = Exp(s)
        }""",
        {"x": IMAGE},
        precision,
    )  # fmt: skip
    node = found.nodes("Resize")[0]
    assert found.type_of(node.input[2]) == "float"
    assert found.decision("Resize_1")[0] == precision
    found.assert_close(tolerance=2e-2 if precision == "bf16" else 2e-3)


def test_a_roi_of_a_resize_has_no_bf16_form_and_keeps_fp32(convert):
    """roi stays FP32 while the data is BF16 (edge case 44)."""
    found = convert(
        HEAD22 + """g (float[1,1,4,4] x, float[8] roi) => (float[1,1,3,3] y) <int64[4] sizes = {1, 1, 3, 3}> {
          y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize">(x, roi, , sizes)
        }""",
        {"x": IMAGE, "roi": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)},
        "bf16",
    )  # fmt: skip
    assert (found.type_of("x"), found.type_of("roi")) == ("bfloat16", "float")


def test_a_resize_of_opset_10_has_its_scales_at_index_1(convert):
    """The scales are found where the source's opset puts them (edge case 44)."""
    found = convert(
        """<ir_version: 5, opset_import: ["": 10]> g (float[1,1,4,4] x) => (float[1,1,8,8] y) <float[4]
            s = {1, 1, 2, 2}> {
          y = Resize<mode = "nearest">(x, s)
        }""",
        {"x": IMAGE},
    )
    assert found.decision("Resize_1")[0] == "fp16"
    assert found.type_of(found.nodes("Resize")[0].input[2]) == "float"
    found.assert_close()


@PRECISIONS
def test_non_maximum_suppression_is_never_low(convert, precision):
    """Boxes and scores stay FP32 up to the graph input (edge case 45)."""
    found = convert(
        HEAD22 + """g (float[1,2,4] boxes, float[1,1,2] scores) => (int64[n,3] y)
        <int64[1] most = {2}, float[1] overlap = {0.5}, float[1] least = {0.1}> {
          b = Relu(boxes) y = NonMaxSuppression(b, scores, most, overlap, least)
        }""",
        {
            "boxes": np.array([[[0, 0, 1, 1], [0, 0.5, 1, 2]]], np.float32),
            "scores": np.array([[[0.9, 0.75]]], np.float32),
        },
        precision,
    )  # fmt: skip
    assert found.decision("NonMaxSuppression_1") == ("fp32", "legality")
    assert found.type_of("scores") == "float"
    assert found.conversion.plan.io_kept == ("scores",)
    found.assert_close()


def test_scales_of_qlinear_operators_stay_fp32(convert):
    """QLinearConv accepts only FP32 scales (edge case 46)."""
    model = onnx.parser.parse_model(
        HEAD
        + """g (float[1,1,3,3] x) => (float[1,1,3,3] y)
        <float s = {0.1}, int8 z = {0}, int8[1,1,1,1] w = {3}, float ws = {0.5}> {
          q = QuantizeLinear(x, s, z) c = QLinearConv(q, s, z, w, ws, z, s, z) d = DequantizeLinear(c, s, z) y = Exp(d)
        }"""
    )
    found = convert(model, {"x": np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3)}, opset=17)
    node = found.nodes("QLinearConv")[0]
    assert [found.type_of(node.input[i]) for i in (1, 4, 6)] == ["float"] * 3
    found.assert_close()


def test_scales_of_q_and_dq_are_16_bit_from_opset_19(convert):
    """The opset is raised to 19, where 16-bit scales are legal (edge case 46)."""
    found = convert(
        HEAD + """g (float[2,3] x) => (float[2,3] y) <float s = {0.125}, int8 z = {0}> {
          a = Relu(x) q = QuantizeLinear(a, s, z) d = DequantizeLinear(q, s, z) y = Exp(d)
        }""",
        {"x": X},
    )  # fmt: skip
    assert {each.domain: each.version for each in found.after.opset_import} == {"": 19}
    assert found.initializer("s").dtype == np.float16
    assert not found.nodes("Cast")
    found.assert_close()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_dynamic_quantize_linear_and_tfidf_are_never_low(convert, precision):
    """Both stay FP32 by their schemas, and so do their outputs (edge case 47)."""
    found = convert(
        HEAD22 + """g (float[2,3] x, int32[4] i) => (uint8[2,3] y, float s, uint8 z, float[n] t) {
          a = Relu(x) y, s, z = DynamicQuantizeLinear(a)
          t = TfIdfVectorizer<mode = "TF", min_gram_length = 1, max_gram_length = 1, max_skip_count = 0,
                              ngram_counts = [0], ngram_indexes = [0, 1], pool_int64s = [2, 3]>(i)
        }""",
        {"x": X, "i": np.array([2, 2, 3, 1], np.int32)},
        precision,
    )  # fmt: skip
    assert found.decision("DynamicQuantizeLinear_1") == ("fp32", "legality")
    assert found.decision("TfIdfVectorizer_1") == ("fp32", "legality")
    assert found.type_of("s") == "float"
    assert {"s", "t"} <= set(found.conversion.plan.io_kept)


def test_indices_and_depth_of_one_hot_keep_their_integer_types(convert):
    """Only the values of a OneHot take the low type (edge case 48)."""
    found = convert(
        HEAD
        + (
            "g (int64[3] i) => (float[3,5] y) <int64 d = {5}, float[2] v = "
            "{0.0, 2.5}> { h = OneHot(i, d, v) y = Exp(h) }"
        ),
        {"i": np.array([0, 4, 2])},
    )
    assert found.initializer("v").dtype == np.float16
    assert found.initializer("d").dtype == np.int64
    found.assert_close()


def test_float_indices_of_one_hot_do_not_pass_integers_over_2048_through_fp16(convert):
    """Float indices stay FP32, where they are exact (edge cases 48 and 71)."""
    ids = np.array([3001.0, 2049.0], np.float32)
    found = convert(
        HEAD
        + "g (float[2] i) => (float[2,4096] y) <int64 d = {4096}, float[2] v = {0.0, 1.0}> { y = OneHot(i, d, v) }",
        {"i": ids},
        data_max=float("inf"),
        allow_uncalibrated=True,  # ONNX Runtime has no kernel for such indices
    )
    np.testing.assert_array_equal(found.outputs()[0].argmax(axis=1), [3001, 2049])


@pytest.mark.parametrize("opset", [14, 15])
def test_batch_normalization_has_three_type_variables_from_opset_15(convert, opset):
    """It is converted on both sides of the change of its schema (edge case 49)."""
    found = convert(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        g (float[2,3,2] x) => (float[2,3,2] y)
        <float[3] s = {{1, 2, 3}}, float[3] b = {{0, 1, 0}}, float[3] m = {{0.5, 0, 0}}, float[3] v = {{1, 4, 1}}> {{
          a = Relu(x) y = BatchNormalization(a, s, b, m, v)
        }}""",
        {"x": np.linspace(-1, 2, 12, dtype=np.float32).reshape(2, 3, 2)},
    )
    assert found.decision("BatchNormalization_1")[0] == "fp16"
    found.assert_close()


@pytest.mark.parametrize("op_type", ["LayerNormalization", "RMSNormalization", "GroupNormalization"])
def test_stash_type_of_normalizations_stays_fp32(convert, op_type):
    """The attribute that names the accumulation type does not change (edge case 50)."""
    more = {
        "LayerNormalization": ("axis = -1", "s, b"),
        "RMSNormalization": ("axis = -1", "s"),
        "GroupNormalization": ("num_groups = 2", "s, b"),
    }
    attributes, inputs = more[op_type]
    found = convert(
        f"""<ir_version: 11, opset_import: ["": 23]> g (float[2,4,4] x) => (float[2,4,4] y)
        <float[4] s = {{1, 2, 3, 1}}, float[4] b = {{0, 1, 0, 2}}> {{
          a = Relu(x) y = {op_type}<{attributes}>(a, {inputs})
        }}""",
        {"x": np.linspace(-1, 2, 32, dtype=np.float32).reshape(2, 4, 4)},
    )
    assert found.decision(f"{op_type}_1")[0] == "fp16"
    assert not any(
        attribute.name == "stash_type" and attribute.i != 1 for attribute in found.nodes(op_type)[0].attribute
    )
    found.assert_close(tolerance=4e-3)


def test_mean_and_deviation_of_a_layer_normalization_keep_the_stash_type(convert):
    """The optional outputs are FP32 and their readers get casts (edge case 50)."""
    found = convert(
        HEAD + """g (float[2,3] x) => (float[2,3] y, float[2,1] m, float[2,1] d, float[2,1] e) <float[3]
            s = {1, 2, 3}> {
          y, m, d = LayerNormalization<axis = -1>(x, s) e = Exp(m)
        }""",
        {"x": X},
    )  # fmt: skip
    found.assert_close()


@pytest.mark.parametrize("op_type", ["GridSample"])
@PRECISIONS
def test_grid_sample_moves_both_type_variables(convert, op_type, precision):
    """Data and grid take the low type together (edge case 51)."""
    found = convert(
        HEAD22
        + "g (float[1,1,4,4] x, float[1,2,2,2] grid) => (float[1,1,2,2] y) { a = Relu(x) y = GridSample(a, grid) }",
        {"x": IMAGE, "grid": np.linspace(-1, 1, 8, dtype=np.float32).reshape(1, 2, 2, 2)},
        precision,
    )
    assert found.decision("GridSample_1")[0] == precision
    assert found.type_of("grid") == {"fp16": "float16", "bf16": "bfloat16"}[precision]
    found.assert_close(tolerance=2e-2)


def test_the_exponent_of_a_pow_has_a_type_of_its_own(convert):
    """An integer exponent stays an integer (edge case 52)."""
    found = convert(
        HEAD
        + (
            "g (float[2,3] x, int64 n) => (float[2,3] y, float[2,3] z) <float "
            "two = {2.0}> { y = Pow(x, n) z = Pow(x, two) }"
        ),
        {"x": X, "n": np.array(3)},
    )
    assert found.type_of("n") == "int64"
    assert not found.nodes("Cast")
    found.assert_close()


@pytest.mark.parametrize(
    "text",
    [
        "y = Where(c, x, w)",
        "y = Clip(x, lo, hi)",
        "y = PRelu(x, w)",
        "y = Gemm<transB = 1>(x, m, w2)",
    ],
)
def test_operands_that_share_a_type_move_together(convert, text):
    """All float operands of Where, Clip, PRelu and Gemm take the low type (edge case 53)."""
    shape = "2,2" if "Gemm" in text else "2,3"
    found = convert(
        HEAD + f"""g (float[2,3] x, bool[2,3] c) => (float[{shape}] y)
        <float[3] w = {{1, 2, 3}}, float lo = {{-1}}, float hi = {{2}}, float[2,3] m = {{1, 2, 3, 4, 5,
            6}}, float[2] w2 = {{1, 2}}> {{
          {text}
        }}""",
        {"x": X, "c": X > 0},
    )  # fmt: skip
    node = next(node for node in found.after.graph.node)
    assert {found.type_of(name) for name in (*node.input, *node.output)} - {"bool"} == {"float16"}
    assert not found.nodes("Cast")
    found.assert_close()


@pytest.mark.parametrize(("op_type", "gates", "states"), [("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1)])
@PRECISIONS
def test_all_operands_of_a_recurrent_operator_move_but_the_lengths(convert, op_type, gates, states, precision):
    """Weights and states take the low type; sequence_lens stays INT32 (edge case 54)."""
    hidden, size = 2, 3
    first = "h" if states == 1 else "h, c"
    outs = "y, hn" if states == 1 else "y, hn, cn"
    declared = "float[1,2,2] h" + (", float[1,2,2] c" if states == 2 else "")
    model = onnx.parser.parse_model(
        HEAD22 + f"""g (float[2,2,{size}] x, int32[2] n, {declared}) => (float[2,1,2,2] y)
        {{ {outs} = {op_type}<hidden_size = {hidden}>(x, w, r, b, n, {first}) }}"""
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for name, shape in (
        ("w", (1, gates * hidden, size)),
        ("r", (1, gates * hidden, hidden)),
        ("b", (1, 2 * gates * hidden)),
    ):
        model.graph.initializer.append(onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name))
    feeds = {"x": rng.normal(size=(2, 2, size)).astype(np.float32), "n": np.array([2, 2], np.int32)}
    feeds |= {name: rng.normal(size=(1, 2, 2)).astype(np.float32) for name in first.split(", ")}
    found = convert(model, feeds, precision)
    assert not found.nodes("Cast")
    assert found.type_of("n") == "int32"
    assert {found.type_of(name) for name in ("x", "w", "r", "b", *first.split(", "))} == {
        "float16" if precision == "fp16" else "bfloat16"
    }


@PRECISIONS
def test_attention_moves_queries_keys_values_and_a_float_mask(convert, precision):
    """A float mask takes the low type, a boolean one stays (edge case 55)."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.normal(size=(1, 2, 3, 4)).astype(np.float32) for name in "qkv"}
    for mask, kind in ((rng.random((3, 3)) > 0.3, "bool"), (rng.normal(size=(3, 3)).astype(np.float32), "float")):
        found = convert(
            f"""<ir_version: 11, opset_import: ["": 23]>
            g (float[1,2,3,4] q, float[1,2,3,4] k, float[1,2,3,4] v, {kind}[3,3] m) => (float[1,2,3,4] y) {{
              y = Attention(q, k, v, m)
            }}""",
            {**feeds, "m": mask | np.eye(3, dtype=bool) if kind == "bool" else mask},
            precision,
        )
        assert found.decision("Attention_1")[0] == precision
        assert found.type_of("m") == ("bool" if kind == "bool" else found.type_of("q")) != "float"
        found.assert_close(tolerance=3e-2 if precision == "bf16" else 4e-3)


def test_one_tensor_stands_at_two_positions_of_one_node(convert):
    """A tensor pinned to FP32 for one reader is low for another (edge case 56)."""
    found = convert(
        HEAD + """g (float[4] s) => (float[M] y) <float[1,1,2,2] k = {1, 2, 3, 4}, int64[1] m = {-1}> {
          a = Resize<mode = "nearest">(k, , s) b = Mul(s, s) c = Reshape(a, m) d = ReduceSum<keepdims =
            0>(b) y = Mul(c, d)
        }""",
        {"s": np.array([1, 1, 2, 1], np.float32)},
    )  # fmt: skip
    assert found.type_of(found.nodes("Resize")[0].input[2]) == "float"
    first, second = found.nodes("Mul")[0].input
    assert first == second
    found.assert_close()


def test_the_same_tensor_as_data_and_as_scales_gets_one_cast(convert):
    """One input of a node moves, the other one of the same tensor does not (edge case 56)."""
    found = convert(
        HEAD22 + 'g (float[1] s) => (float[n] y) { t = Resize<mode = "nearest">(s, , s) y = Exp(t) }',
        {"s": np.array([2.0], np.float32)},
        keep_io_types=True,
    )
    node = found.nodes("Resize")[0]
    assert (found.type_of(node.input[0]), found.type_of(node.input[2])) == ("float16", "float")
    found.assert_close()


def test_an_opset_below_what_a_quantizer_needs_is_an_error_or_raised(convert):
    """A requested opset of 17 is raised to 19, with a warning (edge case 46)."""
    found = convert(
        HEAD
        + (
            "g (float[2,3] x) => (int8[2,3] q) <float s = {0.125}, int8 z = "
            "{0}> { a = Relu(x) q = QuantizeLinear(a, s, z) }"
        ),
        {"x": X},
        opset=17,
    )
    assert any("opset raised from 17 to 19" in warning for warning in found.conversion.warnings)
