"""Edge cases 57 to 63: attributes that state an element type."""

import numpy as np
import onnx
import pytest

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'
HEAD22 = '<ir_version: 10, opset_import: ["": 22]>\n'
KEEP = pytest.mark.parametrize("keep", [False, True])
LOW = {"fp16": "float16", "bf16": "bfloat16"}


@KEEP
@pytest.mark.parametrize("excluded", [(), ("Exp",), ("Relu",)])
def test_a_float_cast_of_the_user_stays_right(convert, keep, excluded):
    """A Cast to FP32 in the source gives the same values wherever casts are placed (edge case 57)."""
    found = convert(
        HEAD + """g (float[2,3] x) => (float[2,3] y, int32[2,3] i) {
          a = Relu(x) b = Cast<to = 1>(a) y = Exp(b) i = Cast<to = 6>(b)
        }""",
        {"x": X},
        keep_io_types=keep,
        op_types_to_exclude=excluded,
    )  # fmt: skip
    found.assert_close()


@KEEP
@pytest.mark.parametrize("excluded", [(), ("CastLike",), ("Relu",)])
def test_cast_like_follows_its_pattern(convert, keep, excluded):
    """CastLike gives the type that its second input has after the conversion (edge case 57)."""
    found = convert(
        HEAD + "g (int32[3] i, float[2,3] x) => (float[2,3] y) { r = Relu(x) c = CastLike(i, r) y = Add(c, r) }",
        {"i": np.array([1, 2, 3], np.int32), "x": X},
        keep_io_types=keep,
        op_types_to_exclude=excluded,
    )
    found.assert_close()


def test_bit_cast_reads_the_bits_of_an_fp32_value(convert):
    """BitCast keeps its FP32 input, since other bits would mean another number (edge case 57)."""
    model = onnx.parser.parse_model(
        '<ir_version: 13, opset_import: ["": 26]> g (float[2,3] x) => '
        "(int32[2,3] i) { a = Abs(x) i = BitCast<to = 6>(a) }"
    )
    found = convert(model, {"x": X})
    assert found.type_of(found.nodes("BitCast")[0].input[0]) == "float"
    assert found.decision("BitCast_1") == ("fp32", "legality")


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(
    "node",
    [
        "RandomNormal<shape = [2, 3]>()",
        "RandomUniform<shape = [2, 3], dtype = 1>()",
        "RandomNormalLike(x)",
        "RandomUniformLike<dtype = 1>(x)",
        "Bernoulli(p)",
        "Bernoulli<dtype = 1>(p)",
        "EyeLike(x)",
        "EyeLike<dtype = 1>(x)",
    ],
)
def test_generators_make_the_low_type(convert, node, precision):
    """Random generators and EyeLike give the low type directly, without a Cast (edge case 58)."""
    found = convert(
        HEAD22 + f"g (float[2,3] x) => (float[2,3] y) {{ p = Sigmoid(x) r = {node} y = Add(p, r) }}", None, precision
    )
    op_type = node.partition("<")[0].partition("(")[0]
    assert found.decision(f"{op_type}_1")[0] == precision
    assert found.type_of("r") == LOW[precision]
    assert not found.nodes("Cast")


def test_multinomial_gives_integers_whatever_it_reads(convert):
    """An integer dtype attribute does not change (edge case 58)."""
    found = convert(
        HEAD + "g (float[2,3] x) => (int32[2,4] y) { a = Relu(x) y = Multinomial<sample_size = 4, dtype = 6>(a) }",
        {"x": X},
    )
    assert found.type_of("y") == "int32"


@pytest.mark.parametrize("attribute", ["", "<dtype = 1>"])
@KEEP
def test_an_empty_sequence_takes_the_precision_of_what_goes_in(convert, attribute, keep):
    """SequenceEmpty's dtype follows the elements that are inserted (edge case 58)."""
    found = convert(
        HEAD
        + (
            f"g (float[3] x) => (float[3] y) <int64 zero = {{0}}> {{ s = "
            f"SequenceEmpty{attribute}() t = SequenceInsert(s, x) y = SequenceAt(t, zero) }}"
        ),
        {"x": X[0]},
        keep_io_types=keep,
    )
    found.assert_close()
    assert found.type_of("t") == "float16"


@pytest.mark.parametrize("attribute", ["", "<value = float[1] {2.5}>"])
@KEEP
def test_constant_of_shape_changes_type_in_place(convert, attribute, keep):
    """The value attribute is converted, so no Cast is needed (edge case 59)."""
    found = convert(
        HEAD + f"g (float[2,3] x) => (float[2,3] y) {{ s = Shape(x) c = ConstantOfShape{attribute}(s) y = Add(x, c) }}",
        {"x": X},
        keep_io_types=keep,
    )
    assert found.type_of("c") == "float16"
    assert len(found.nodes("Cast")) == (2 if keep else 0)
    found.assert_close()


@pytest.mark.parametrize(
    "constant",
    [
        "<value_float = 2.5>",
        "<value_floats = [2.5, 1.5, 0.5]>",
        "<value = float[3] {2.5, 1.5, 0.5}>",
        "<value = float {2.5}>",
    ],
)
@pytest.mark.parametrize("excluded", [(), ("Mul",)])
def test_a_constant_changes_type_in_place_whatever_its_attribute(convert, constant, excluded):
    """value, value_float and value_floats are converted in place (edge case 60)."""
    found = convert(
        HEAD + f"g (float[2,3] x) => (float[2,3] y) {{ c = Constant{constant}() a = Add(x, c) y = Mul(a, c) }}",
        {"x": X},
        op_types_to_exclude=excluded,
    )
    found.assert_close()
    assert all(
        found.type_of(node.input[0]) != "float" or "Constant" not in node.input[0] for node in found.nodes("Cast")
    )
    assert len(found.nodes("Constant")) == (2 if excluded else 1)


def test_a_sparse_constant_is_converted(convert):
    """A Constant with sparse_value gives the same values (edge case 60)."""
    model = onnx.parser.parse_model(HEAD + "g (float[2,3] x) => (float[2,3] y) { y = Add(x, c) }")
    values = onnx.helper.make_tensor("", 1, [2], [1.5, -2.0])
    sparse = onnx.helper.make_sparse_tensor(values, onnx.helper.make_tensor("", 7, [2], [0, 2]), [3])
    model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    found = convert(model, {"x": X})
    np.testing.assert_allclose(found.outputs()[0], X + np.array([1.5, 0, -2.0]), rtol=1e-3)


def test_integer_and_string_constants_keep_their_types(convert):
    """Constants that hold no floats do not change (edge case 60)."""
    found = convert(
        HEAD + """g (float[2,3] x) => (float[6] y, int64 i) {
          s = Constant<value_ints = [-1]>() i = Constant<value_int = 7>() r = Reshape(x, s) y = Exp(r)
        }""",
        {"x": X},
    )  # fmt: skip
    found.assert_close()


def test_output_dtype_of_a_dequantizer_follows_its_precision(convert):
    """The output takes the low type; the scale stays FP32 where output_dtype names the type (edge case 61)."""
    found = convert(
        (
            '<ir_version: 11, opset_import: ["": 23]> g (float[2,3] x) => (float[2,3] y) <float s = '
            "{0.125}, int8 z = {0}> { q = QuantizeLinear<output_dtype = 3>(x, s, z) d = "
            "DequantizeLinear<output_dtype = 1>(q, s, z) y = Exp(d) }"
        ),
        {"x": X},
    )
    assert found.type_of("d") == "float16"
    assert found.type_of("q") == "int8"
    found.assert_close()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_quantizing_precision_is_left_to_the_user(convert, precision):
    """The attribute precision of QuantizeLinear does not change (edge case 61)."""
    found = convert(
        (
            '<ir_version: 11, opset_import: ["": 23]> g (float[2,3] x) => (int8[2,3] q) <float s = '
            "{0.125}, int8 z = {0}> { a = Relu(x) q = QuantizeLinear<precision = 1>(a, s, z) }"
        ),
        {"x": X},
        precision,
    )
    assert next(a.i for a in found.nodes("QuantizeLinear")[0].attribute if a.name == "precision") == 1


@pytest.mark.parametrize("op_type", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("attribute", ["", "<output_datatype = 1>"])
def test_window_operators_make_the_low_type(convert, op_type, attribute):
    """output_datatype of window operators follows the precision (edge case 62)."""
    found = convert(
        HEAD + f"g (float[8] x) => (float[8] y) <int64 n = {{8}}> {{ w = {op_type}{attribute}(n) y = Mul(x, w) }}",
        {"x": np.linspace(0, 1, 8, dtype=np.float32)},
        small_values=False,
    )
    assert found.type_of("w") == "float16"
    assert not found.nodes("Cast")
    found.assert_close()


def test_a_mel_weight_matrix_keeps_its_frequencies(convert):
    """The frequency inputs of MelWeightMatrix keep their values (edge case 62)."""
    found = convert(
        HEAD + """g (float[1,9] x) => (float[1,4] y)
        <int64 bins = {4}, int64 dft = {16}, int64 rate = {8192}, float low = {0.0}, float high = {4096.0}> {
          m = MelWeightMatrix(bins, dft, rate, low, high) y = MatMul(x, m)
        }""",
        {"x": np.ones((1, 9), np.float32)},
        small_values=False,
    )  # fmt: skip
    found.assert_close()


@KEEP
@pytest.mark.parametrize("source", ["int64", "bool", "uint8"])
def test_a_cast_from_integers_to_fp32_makes_the_low_type_itself(convert, source, keep):
    """The source's own Cast changes its target type; no second Cast follows it (edge case 63)."""
    found = convert(
        HEAD + f"g ({source}[3] i, float[3] x) => (float[3] y) {{ f = Cast<to = 1>(i) y = Add(f, x) }}",
        {"i": np.array([1, 0, 1]).astype(source), "x": X[0]},
        keep_io_types=keep,
    )
    assert len(found.nodes("Cast")) == (3 if keep else 1)
    assert found.type_of("f") == "float16"
    found.assert_close()


@KEEP
def test_a_cast_from_integers_serves_low_and_fp32_readers(convert, keep):
    """A Cast from integers serves a low reader and an FP32 reader at once (edge case 63)."""
    found = convert(
        HEAD
        + "g (int64[3] i, float[3] x) => (float[3] y, float[3] z) { f = Cast<to = 1>(i) y = Add(f, x) z = Exp(f) }",
        {"i": np.array([1, 0, 2]), "x": X[0]},
        keep_io_types=keep,
        op_types_to_exclude=("Exp",),
    )
    found.assert_close()
