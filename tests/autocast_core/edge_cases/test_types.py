"""Edge cases 34 to 43: every kind of value."""

import ml_dtypes
import numpy as np
import onnx
import onnx.helper as helper
import pytest

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
BOTH = pytest.mark.parametrize("keep", [False, True])


@BOTH
def test_fp64_inputs_outputs_and_constants(convert, keep):
    """FP64 is converted, and kept at the boundary on request (edge case 34, AutoCast defect 10)."""
    found = convert(
        HEAD + "g (double[2,3] x) => (double[2,3] y) <double[3] w = {1.5, 2.0, 1.0e-30}> { a = Mul(x, w) y = Exp(a) }",
        {"x": X.astype(np.float64)},
        keep_io_types=keep,
        small_values=False,
    )
    found.assert_close()
    assert (found.type_of("x"), found.type_of("y")) == (("double", "double") if keep else ("float16", "float16"))
    assert found.decision("Exp_1")[0] == "fp16"


def test_fp64_in_shape_arithmetic_keeps_exact_sizes(convert):
    """Sizes computed in FP64 stay exact (edge cases 34 and 75)."""
    found = convert(
        HEAD + """g (float[2,N] x) => (float[M] y) <double two = {2.0}, int64[1] minus = {-1}> {
          n = Size(x) d = Cast<to = 11>(n) e = Mul(d, two) f = Div(e, two) i = Cast<to = 7>(f)
          s = Unsqueeze(i, zero) r = Reshape(x, s) y = Exp(r)
        }""".replace("int64[1] minus = {-1}", "int64[1] zero = {0}"),
        {"x": np.linspace(-1, 1, 2 * 3001, dtype=np.float32).reshape(2, 3001)},
    )  # fmt: skip
    assert found.outputs()[0].shape == (6002,)
    assert found.decision("Mul_1")[0] == found.decision("Div_1")[0] == "fp32"


def test_parts_that_are_fp16_already_stay(convert):
    """FP16 parts of a mixed source are not touched (edge case 35)."""
    model = onnx.parser.parse_model(
        HEAD
        + "g (float[2,3] x) => (float[2,3] y) { h = Cast<to = 10>(x) m = Mul(h, w) f = Cast<to = 1>(m) y = Exp(f) }"
    )
    model.graph.initializer.append(helper.make_tensor("w", onnx.TensorProto.FLOAT16, [3], [1.5, 2.0, 3.0]))
    found = convert(model, {"x": X / 4})
    assert found.decision("Mul_1") == ("fp16", "already_low")
    assert not found.nodes("Cast")
    found.assert_close()


def test_bf16_parts_go_fp16_in_a_model_that_does(convert):
    """They are widened, and then decided as everything else is (edge case 35)."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 22]> g (float[2,3] x) => (float[2,3] y) { h = '
        "Cast<to = 16>(x) m = Mul(h, h) f = Cast<to = 1>(m) y = Exp(f) }"
    )
    found = convert(model, {"x": X / 4})
    assert found.decision("Mul_1") == ("fp16", "default")
    assert found.type_of("m") == "float16"
    found.assert_close(tolerance=1e-2)


def test_fp8_tensors_are_untouched(convert):
    """FP8 values keep their type; only the scale becomes 16-bit (edge case 36)."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 19]> g (float[2,3] x) => (float[2,3] y) <float s = '
        "{0.5}> { q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Exp(d) }"
    )
    model.graph.initializer.append(helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0]))
    found = convert(model, {"x": X})
    assert found.type_of("q") == "float8e4m3fn"
    assert found.initializer("s").dtype == np.float16
    found.assert_close()


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_int4_tensors_are_untouched(convert, kind):
    """INT4 and UINT4 weights are written back unchanged (edge case 36)."""
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g (float[2,4] x) => (float[2,4] y) <float[4] s = '
        "{0.5, 0.25, 0.5, 1.0}> { w = DequantizeLinear<axis = 1>(q, s) y = Mul(x, w) }"
    )
    data = helper.make_tensor("q", getattr(onnx.TensorProto, kind), [2, 4], [1, 2, 3, 4, 5, 6, 7, 0])
    model.graph.initializer.append(data)
    found = convert(model, {"x": np.array([[1, -2, 3, 4], [0.5, 0.25, -4, 1]], np.float32)})
    assert next(t for t in found.after.graph.initializer if t.name == "q") == data
    assert found.decision("DequantizeLinear_1")[0] == "fp16"
    found.assert_close()


def test_float4_tensors_are_untouched(convert):
    """FLOAT4 weights are written back unchanged (edge case 36)."""
    model = onnx.parser.parse_model(
        '<ir_version: 11, opset_import: ["": 23]> g (float[2,4] x) => (float[2,4] y) '
        "<float s = {0.5}> { w = DequantizeLinear(q, s) y = Mul(x, w) }"
    )
    data = helper.make_tensor("q", onnx.TensorProto.FLOAT4E2M1, [2, 4], [0.5, 1, 1.5, 2, 3, 4, 6, 0])
    model.graph.initializer.append(data)
    found = convert(model, {"x": np.ones((2, 4), np.float32)}, allow_uncalibrated=True)
    assert next(t for t in found.after.graph.initializer if t.name == "q") == data
    found.assert_close()


def test_string_tensors_pass_through(convert):
    """String operators have precision none (edge case 37)."""
    found = convert(
        (
            '<ir_version: 9, opset_import: ["": 20]> g (float[2,3] x, string[2] a, string[2] b) '
            "=> (float[2,3] y, string[2] s) { y = Exp(x) s = StringConcat(a, b) }"
        ),
        {"x": X, "a": np.array(["p", "q"], object), "b": np.array(["r", "s"], object)},
    )
    assert found.decision("StringConcat_1")[0] == "none"
    assert list(found.outputs()[1]) == ["pr", "qs"]


@pytest.mark.parametrize("excluded", [(), ("Exp",), ("SequenceAt",), ("SequenceInsert",)])
@BOTH
def test_sequences_of_floats_have_one_precision(convert, keep, excluded):
    """All nodes that share a sequence are decided together (edge case 38, AutoCast defect 13)."""
    found = convert(
        HEAD + """g (float[3] a, float[3] b) => (float[3] y) <int64 one = {1}> {
          e = Exp(a) s = SequenceConstruct(e, b) t = SequenceInsert(s, a) y = SequenceAt(t, one)
        }""",
        {"a": X[0], "b": X[1]},
        keep_io_types=keep,
        op_types_to_exclude=excluded,
    )  # fmt: skip
    found.assert_close()
    kinds = {d.precision for d in found.conversion.plan.nodes if d.op_type.startswith("Sequence")}
    assert len(kinds) == 1


@BOTH
def test_a_sequence_may_be_an_output(convert, keep):
    """The declared element type of a sequence output follows keep_io_types (edge case 38)."""
    model = onnx.parser.parse_model(
        HEAD + "g (float[3] a, float[3] b) => (seq(float[3]) s) { e = Exp(a) s = SequenceConstruct(e, b) }"
    )
    found = convert(model, {"a": X[0], "b": X[1]}, keep_io_types=keep)
    found.assert_close()
    assert found.type_of("s") == ("float" if keep else "float16")


@BOTH
def test_an_optional_may_hold_a_tensor(convert, keep):
    """A tensor survives the way through an Optional (edge case 38)."""
    found = convert(
        (
            '<ir_version: 8, opset_import: ["": 18]> g (float[3] a) => (float[3] y, bool h) { e = '
            "Exp(a) o = Optional(e) h = OptionalHasElement(o) y = OptionalGetElement(o) }"
        ),
        {"a": X[0]},
        keep_io_types=keep,
    )
    found.assert_close()


def test_maps_and_classical_operators_pass_through(convert):
    """Map types keep their declaration; ai.onnx.ml operators stay FP32 (edge case 38)."""
    node = helper.make_node("ZipMap", ["p"], ["m"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]> g '
        "(float[2,3] x) => (float[2,3] p) { e = Exp(x) p = Softmax(e) }"
    )
    model.graph.node.append(node)
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [])))
    model.graph.output.append(helper.make_value_info("m", kind))
    found = convert(model, {"x": X})
    assert found.after.graph.output[1].type == kind
    assert found.decision("Exp_1")[0] == "fp16"
    assert found.decision("ZipMap_1") == ("fp32", "legality")


def test_a_sparse_initializer_is_converted(convert):
    """A sparse weight gives the same values (edge case 39, AutoCast defect 13)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { y = Mul(x, w) }")
    values = helper.make_tensor("w", 1, [2], [1.5, -2.0])
    indices = helper.make_tensor("w_indices", 7, [2], [0, 2])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    found = convert(model, {"x": X})
    np.testing.assert_allclose(found.outputs()[0], X * np.array([1.5, 0, -2.0]), rtol=1e-3)


def test_zero_dimensional_scalars_keep_their_rank(convert):
    """A scalar does not become a vector of one element (edge case 40)."""
    found = convert(
        HEAD
        + (
            "g (float x) => (float y) <float w = {2.5}> { c = Constant<value "
            "= float {1.5}>() a = Mul(x, w) y = Add(a, c) }"
        ),
        {"x": np.array(3.0, np.float32)},
    )
    assert found.initializer("w").shape == ()
    assert found.outputs()[0] == pytest.approx(9.0)


@BOTH
def test_empty_tensors_stay_empty(convert, keep):
    """Tensors with a dimension of 0 are converted like others (edge case 41)."""
    found = convert(
        HEAD + "g (float[0,3] x) => (float[0,3] y) <float[0,3] e = {}> { a = Add(x, e) y = Exp(a) }",
        {"x": np.zeros((0, 3), np.float32)},
        keep_io_types=keep,
    )
    assert found.outputs()[0].shape == (0, 3)
    assert found.initializer("e").dtype == np.float16


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_resize_with_an_empty_roi_converts(convert, precision):
    """An empty roi does not count as FP32 data (edge cases 41 and 44)."""
    found = convert(
        """<ir_version: 10, opset_import: ["": 22]>
        g (float[1,1,2,2] x) => (float[1,1,4,4] y) <float[0] roi = {}, float[4] scales = {1, 1, 2, 2}> {
          a = Relu(x) y = Resize<mode = "nearest">(a, roi, scales)
        }""",
        {"x": np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)},
        precision,
    )
    assert found.initializer("scales").dtype == np.float32
    assert found.decision("Resize_1")[0] == precision
    found.assert_close(tolerance=1e-2)


def test_undefined_element_types_and_stale_shapes_in_value_info_do_no_harm(convert):
    """Wrong declarations of inner values are replaced by inferred ones (edge case 42)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Relu(x) b = Exp(a) y = Neg(b) }")
    model.graph.value_info.append(helper.make_tensor_value_info("a", 0, None))
    model.graph.value_info.append(helper.make_tensor_value_info("b", 1, []))
    found = convert(model, {"x": X})
    assert found.type_of("b") == "float16"
    found.assert_close()


def test_types_do_not_depend_on_shape_inference(convert):
    """A value of unknown shape still has a known type (edge case 43)."""
    found = convert(
        HEAD + """g (float[2,3] x, int64[1] s) => (float[M] y) {
          n = NonZero(x) g = Transpose(n) e = GatherND(x, g) r = Reshape(e, s) a = Exp(r) y = Softmax(a)
        }""",
        {"x": X, "s": np.array([-1])},
        op_types_to_exclude=("Softmax",),
    )  # fmt: skip
    assert found.type_of("a") in ("float16",)
    found.assert_close()


def test_an_operator_nobody_can_infer_leaves_an_fp32_island(convert):
    """An unknown operator stays FP32 and its neighbours are converted (edge cases 43 and 77)."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "custom": 1]> g (float[2,3] x) => '
        "(float[2,3] y) { a = Exp(x) b = custom.Foo(a) y = Neg(b) }"
    )
    model.graph.value_info.append(helper.make_tensor_value_info("b", 1, [2, 3]))
    found = convert(model)
    assert found.decision("Foo_1") == ("fp32", "legality")
    assert found.decision("Neg_1")[0] == "fp16"
    assert [node.op_type for node in found.after.graph.node] == ["Exp", "Cast", "Foo", "Cast", "Neg"]


def test_bf16_weights_round_to_nearest_even(convert):
    """Rounding agrees with ml_dtypes (edge case 35)."""
    text = (
        '<ir_version: 10, opset_import: ["": 22]> g (float[3] x) => (float[3] y) '
        "<float[3] w = {1.00390625, 3.3, -0.1}> { y = Mul(x, w) }"
    )
    found = convert(text, {"x": X[0]}, "bf16")
    wanted = np.array([1.00390625, 3.3, -0.1], np.float32).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(found.initializer("w").astype(np.float32), wanted.astype(np.float32))
