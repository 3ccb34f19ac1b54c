import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.sanitize import sanitize
from tests.onnx_models import run_in_reference

KEEP = ConversionConfig(keep_io_types=True)
DROP = ConversionConfig()
X = np.array([[1.0, 2.5, -3.0]])


def sanitized(proto: onnx.ModelProto, config: ConversionConfig) -> tuple[onnx.ModelProto, tuple]:
    result = sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto)), config)
    after = ir.serde.serialize_model(result.model)
    onnx.checker.check_model(after, full_check=True)
    return after, result.changes


def elem_types(values) -> list[int]:
    return [value.type.tensor_type.elem_type for value in values]


ATTENTION = """
<ir_version: 10, opset_import: ["": 23]>
g (double[1,2,3,4] q) => (double[1,2,3,4] y) { y = Attention<softmax_precision = 11>(q, q, q) }
"""


def test_a_computation_inside_an_operator_is_fp32_too():
    after, _ = sanitized(onnx.parser.parse_model(ATTENTION), DROP)
    (node,) = after.graph.node
    assert {each.name: each.i for each in node.attribute} == {"softmax_precision": onnx.TensorProto.FLOAT}


MODEL = """
<ir_version: 8, opset_import: ["": 17]>
g (double[1,3] x) => (double[1,3] y) <double[3] w = {2, 0.5, 1}> {
  i = Shape(x)
  r = ConstantOfShape<value = double[1] {4}>(i)
  f = Cast<to = 1>(r)
  d = Cast<to = 11>(f)
  e = EyeLike<dtype = 11>(d)
  a = Mul(x, w)
  b = Add(a, e)
  y = Add(b, d)
}
"""


def test_values_constants_and_attributes_become_fp32():
    after, _ = sanitized(onnx.parser.parse_model(MODEL), DROP)
    assert elem_types([*after.graph.input, *after.graph.output, *after.graph.value_info]).count(11) == 0
    assert after.graph.initializer[0].data_type == onnx.TensorProto.FLOAT
    np.testing.assert_array_equal(run_in_reference(after, {"x": X.astype(np.float32)})[0], [[7.0, 5.25, 1.0]])


def test_kept_inputs_and_outputs_get_one_cast_each():
    after, _ = sanitized(onnx.parser.parse_model(MODEL), KEEP)
    assert elem_types([*after.graph.input, *after.graph.output]) == [11, 11]
    assert [node.op_type for node in after.graph.node].count("Cast") == 4
    output = run_in_reference(after, {"x": X})[0]
    assert output.dtype == np.float64
    np.testing.assert_array_equal(output, [[7.0, 5.25, 1.0]])


def test_only_the_named_ones_are_kept():
    after, _ = sanitized(onnx.parser.parse_model(MODEL), ConversionConfig(keep_io_types=("y",)))
    assert elem_types([*after.graph.input, *after.graph.output]) == [1, 11]


def test_bodies_compute_in_fp32_with_a_kept_input_captured():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (bool c, double[1,3] x) => (double[1,3] y) {
      y = If (c) <
        then_branch = t () => (double[1,3] r) { k = Constant<value = double {2}>() r = Mul(x, k) },
        else_branch = e () => (double[1,3] r) { r = Neg(x) }>
    }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), KEEP)
    np.testing.assert_array_equal(run_in_reference(after, {"x": X, "c": np.array(True)})[0], X * 2)
    branch = next(node for node in after.graph.node if node.op_type == "If").attribute[0].g
    assert elem_types(branch.output) == [1]


def test_constants_beyond_fp32_are_clamped_and_lost_ones_counted():
    proto = onnx.parser.parse_model(MODEL)
    proto.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.array([1e300, 1e-30, -1e-60]), "w"),
    )
    after, changes = sanitized(proto, DROP)
    values = onnx.numpy_helper.to_array(after.graph.initializer[0])
    np.testing.assert_array_equal(values, np.array([np.finfo(np.float32).max, 1e-30, -0.0], np.float32))
    assert np.signbit(values[2])
    assert "1 elements were clamped and 1 became 0" in next(c.detail for c in changes if c.step == "fp64")


def test_infinity_and_nan_survive():
    proto = onnx.parser.parse_model(MODEL)
    special = np.array([np.inf, -np.inf, np.nan])
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(special, "w"))
    after, changes = sanitized(proto, DROP)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(after.graph.initializer[0]), special.astype(np.float32))
    assert "clamped" not in changes[-1].detail


@pytest.mark.parametrize(("config", "dtype"), [(KEEP, np.float64), (DROP, np.float32)])
def test_an_input_that_is_an_output_stays_connected(config, dtype):
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (double[1,3] x) => (double[1,3] x, double[1,3] y) { y = Neg(x) }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), config)
    assert [value.name for value in after.graph.output] == ["x", "y"]
    outputs = run_in_reference(after, {"x": X.astype(dtype)})
    for actual, expected in zip(outputs, (X, -X), strict=True):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, expected)


def test_an_initializer_that_is_an_output_keeps_its_type_on_request():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (double[1,3] x) => (double[3] w, double[1,3] y) <double[3] w = {1, 2, 3}> { y = Mul(x, w) }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), KEEP)
    assert after.graph.initializer[0].data_type == onnx.TensorProto.DOUBLE
    outputs = run_in_reference(after, {"x": X})
    np.testing.assert_array_equal(outputs[0], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(outputs[1], X * [1, 2, 3])


def test_sequences_and_optionals_of_fp64_become_fp32():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (double[1,3] x) => (double[1,3] y) {
      s = SequenceConstruct(x)
      o = Optional(s)
      t = OptionalGetElement(o)
      n = Constant<value = int64 {0}>()
      y = SequenceAt(t, n)
    }
    """
    before = onnx.parser.parse_model(text)
    after, _ = sanitized(before, DROP)
    types = {info.name: info.type for info in after.graph.value_info}
    assert types["s"].sequence_type.elem_type.tensor_type.elem_type == 1
    actual = np.asarray(run_in_reference(after, {"x": X.astype(np.float32)})[0])
    assert actual.dtype == np.float32
    np.testing.assert_array_equal(actual, run_in_reference(before, {"x": X})[0])


def test_a_model_without_fp64_is_left_alone():
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) { y = Cast<to = 1>(x) }'
    before = onnx.parser.parse_model(text)
    after, changes = sanitized(before, KEEP)
    assert [change.step for change in changes] == ["names"]
    assert after.graph.node[0].attribute == before.graph.node[0].attribute


def test_the_callers_model_is_not_touched():
    model = ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(MODEL)))
    before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    sanitize(model, DROP)
    assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before


def test_a_cast_to_a_kept_output_that_others_read_too_is_cast_back_for_them():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[1,3] x) => (double[1,3] y, double[1,3] z) { y = Cast<to = 11>(x) z = Add(y, y) }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), KEEP)
    assert [node.op_type for node in after.graph.node] == ["Cast", "Cast", "Add", "Cast"]
    outputs = run_in_reference(after, {"x": X.astype(np.float32)})
    np.testing.assert_array_equal(outputs[0], X)
    np.testing.assert_array_equal(outputs[1], X + X)


def test_casts_at_the_ports_are_enough():
    once, _ = sanitized(onnx.parser.parse_model(MODEL), KEEP)
    twice, changes = sanitized(once, KEEP)
    assert [node.op_type for node in twice.graph.node] == [node.op_type for node in once.graph.node]
    assert changes == ()


@pytest.mark.parametrize("config", [KEEP, DROP], ids=["keep", "drop"])
def test_bitcast_still_sees_64_bits(config):
    text = """
    <ir_version: 13, opset_import: ["": 26]>
    g (double[1,3] x) => (int64[1,3] i, double[1,3] y) {
      a = Add(x, x) i = BitCast<to = 7>(a) b = BitCast<to = 11>(i) y = Neg(b)
    }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), config)
    outputs = run_in_reference(after, {"x": X.astype(np.float64 if config is KEEP else np.float32)})
    np.testing.assert_array_equal(outputs[0], (X + X).view(np.int64))
    np.testing.assert_array_equal(outputs[1], -(X + X))


def test_an_operator_of_an_unknown_domain_keeps_its_fp64_operands():
    text = """
    <ir_version: 8, opset_import: ["": 17, "mine": 1]>
    g (double[1,3] x) => (double[1,3] y) <double[3] w = {1, 2, 3}, double[1,3] a> { a = mine.F(x, w) y = Neg(a) }
    """
    after, _ = sanitized(onnx.parser.parse_model(text), DROP)
    assert [node.op_type for node in after.graph.node] == ["Cast", "F", "Cast", "Neg"]
    assert after.graph.initializer[0].data_type == onnx.TensorProto.DOUBLE
    types = {info.name: info.type.tensor_type.elem_type for info in after.graph.value_info}
    assert types[after.graph.node[1].input[0]] == types["a"] == onnx.TensorProto.DOUBLE


def test_fp64_behind_values_without_a_type_is_found():
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    g (float[1,3] x) => (float[1,3] y) { a = Cast<to = 11>(x) b = Neg(a) y = Cast<to = 1>(b) }
    """
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    result = sanitize(model, DROP).model
    assert {value.dtype for node in result.graph for value in node.outputs} == {ir.DataType.FLOAT}
