"""Edge cases 76 to 78: size, custom operators, dynamic shapes, what a target lacks."""

import numpy as np
import onnx
import onnx.helper as helper
import pytest

from autocast_core import ConversionConfig, convert_file

X = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -4.0]], np.float32)
HEAD = '<ir_version: 8, opset_import: ["": 17]>\n'


@pytest.mark.parametrize("excluded", [(), ("Add",)])
def test_external_data_stay_external_and_are_not_loaded_twice(tmp_path, excluded):
    """Weights are written to the external file once per precision (edge case 76)."""
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(
        HEAD + "g (float[2,64] x) => (float[2,64] y) { a = MatMul(x, w) b = MatMul(a, w) c = Add(b, v) y = Mul(c, v) }"
    )
    given = {"w": rng.normal(scale=0.1, size=(64, 64)), "v": rng.normal(scale=0.1, size=(2, 64))}
    for name, array in given.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    source, target = tmp_path / "source.onnx", tmp_path / "out" / "target.onnx"
    target.parent.mkdir()
    onnx.save(model, source, save_as_external_data=True, location="weights.bin", size_threshold=0)
    convert_file(source, target, ConversionConfig(op_types_to_exclude=excluded), external_data=True)
    onnx.checker.check_model(target, full_check=True)
    after = onnx.load(target, load_external_data=False)
    large = next(tensor for tensor in after.graph.initializer if tensor.name == "w")
    assert large.data_location == onnx.TensorProto.EXTERNAL
    names = sorted(tensor.name for tensor in after.graph.initializer)
    assert names == (["v", "v_fp16", "w"] if excluded else ["v", "w"])
    weights = onnx.numpy_helper.to_array(next(t for t in onnx.load(target).graph.initializer if t.name == "w"))
    np.testing.assert_array_equal(weights, given["w"].astype(np.float32).astype(np.float16))


def test_a_shared_initializer_is_stored_once_per_precision(convert):
    """Tied embeddings stay tied (edge case 76, failure 15 on real models)."""
    text = (
        HEAD
        + """g (int64[2] i) => (float[2,5] y) <float[5,3] e = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6}> {
      h = Gather(e, i) t = Transpose<perm = [1, 0]>(e) n = Neg(h) y = MatMul(n, t)
    }"""
    )
    tied = convert(text, {"i": np.array([0, 4])})
    assert [tensor.data_type for tensor in tied.after.graph.initializer] == [onnx.TensorProto.FLOAT16]
    mixed = convert(text, {"i": np.array([0, 4])}, op_types_to_exclude=("Gather", "Neg"))
    assert sorted(tensor.data_type for tensor in mixed.after.graph.initializer) == [1, 10]
    mixed.assert_close()


def test_initializers_over_a_limit_are_cast_at_run_time(convert):
    """init_conversion_max_bytes keeps large weights in FP32, with a Cast (edge case 76)."""
    text = (
        HEAD
        + """g (float[2,3] x) => (float[2,3] y) <float[3,3] w = {1,2,3,4,5,6,7,8,9}, float[3] v = {1,2,3}> {
      a = MatMul(x, w) b = MatMul(a, w) y = Add(b, v)
    }"""
    )
    found = convert(text, {"x": X / 100}, init_conversion_max_bytes=16)
    assert found.initializer("w").dtype == np.float32 and found.initializer("v").dtype == np.float16
    assert [node.input[0] for node in found.nodes("Cast")] == ["w"]
    found.assert_close()


def test_a_contrib_operator_converts_without_tensorrt(convert):
    """Operators of com.microsoft are converted in their domain (edge case 77, AutoCast defects 11 and 12)."""
    text = (
        '<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]> g (float[2,3] x) => (float[2,3] y) '
        "<float[3,3] w = {1,2,3,4,5,6,7,8,9}> { a = "
        "com.microsoft.FusedMatMul<alpha = 0.5>(x, w) y = com.microsoft.Gelu(a) }"
    )
    found = convert(text, {"x": X / 10})
    assert found.decision("FusedMatMul_1")[0] == found.decision("Gelu_1")[0] == "fp16"
    assert [node.domain for node in found.after.graph.node] == ["com.microsoft"] * 2
    assert not found.nodes("Cast")


PLUGIN = (
    '<ir_version: 8, opset_import: ["": 17, "trt.plugins": 1]> g (float[2,3] x, float[3] '
    "s) => (float[2,3] y) {{ a = Exp(x) b = {}Foo(a, s) y = Neg(b) }}"
)


def plugin_model(domain: str = "trt.plugins") -> onnx.ModelProto:
    model = onnx.parser.parse_model(PLUGIN.format("trt.plugins."))
    model.graph.node[1].domain = domain
    model.graph.value_info.append(helper.make_tensor_value_info("b", 1, [2, 3]))
    return model


def test_a_plugin_is_an_fp32_island_without_its_precision(convert):
    """An operator without a schema stays FP32 between casts (edge case 77)."""
    found = convert(plugin_model())
    assert found.decision("Foo_1") == ("fp32", "legality")
    assert found.type_of("s") == "float"
    assert "no schema" in found.conversion.plan.by_id()["graph/Foo_1"].reason


@pytest.mark.parametrize(
    ("flag", "types"),
    [
        ("Foo:fp16", ("float16", "float16", "float16")),
        ("Foo:[fp16,fp32]:[fp16]", ("float16", "float", "float16")),
        ("Foo:[fp32,fp16]:[fp32]", ("float", "float16", "float")),
        ("Foo:fp32", ("float", "float", "float")),
    ],
)
@pytest.mark.parametrize("precision", ["fp16"])
def test_a_plugin_has_the_types_that_its_precision_says(convert, flag, types, precision):
    """trt_plugins_precision sets the type of each input and output (edge case 77)."""
    model = plugin_model()
    found = convert(model, None, precision, trt_plugins_precision=(flag,))
    node = found.nodes("Foo")[0]
    assert tuple(found.type_of(name) for name in (*node.input, *node.output)) == types
    assert found.decision("Foo_1")[1] == "plugin_precision"
    assert found.decision("Exp_1")[0] == found.decision("Neg_1")[0] == "fp16"


def test_a_plugin_whose_output_type_is_unknown_converts_with_its_precision(convert):
    """The option supplies the type that inference cannot know (edge cases 43 and 77)."""
    model = plugin_model()
    del model.graph.value_info[:]
    found = convert(model, None, trt_plugins_precision=("Foo:fp16",))
    assert found.decision("Exp_1")[0] == "fp16"
    assert [node.op_type for node in found.after.graph.node] == ["Exp", "Foo", "Neg"]


def test_dynamic_shapes_stay_dynamic(convert):
    """Symbolic dimensions keep their names and still accept any size (edge case 78)."""
    found = convert(
        HEAD + "g (float[batch,3] x) => (float[batch,3] y) { a = Exp(x) y = Softmax(a) }", {"x": np.tile(X, (3, 1))}
    )
    assert found.after.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert found.after.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    found.assert_close({"x": X})
    found.assert_close({"x": X[:1]})


def test_calibration_data_may_hold_more_batches_than_the_model_takes(convert):
    """Data is sliced into batches of the model's fixed size (edge case 78)."""
    many = np.concatenate([X, X * 200, X])
    found = convert(HEAD + "g (float[2,3] x) => (float[2,3] y) { a = Abs(x) y = Sqrt(a) }", {"x": many})
    assert found.decision("Abs_1") == ("fp32", "io_range")
    (evidence,) = found.conversion.plan.by_id()["graph/Abs_1"].evidence
    assert evidence.absmax == 800.0
    assert found.conversion.plan.data.batches == 3


def test_an_operator_the_target_lacks_is_kept_by_name(convert):
    """A name pattern keeps one of two equal convolutions in FP32 (edge case 78)."""
    text = (
        HEAD
        + """g (float[1,2,4,4] x) => (float[1,2,4,4] y) <float[2,1,1,1] w = {1, 2}> {
      [grouped] a = Conv<group = 2>(x, w) [other] b = Conv<group = 2>(a, w) y = Relu(b)
    }"""
    )
    found = convert(text, {"x": np.ones((1, 2, 4, 4), np.float32)}, nodes_to_exclude=("grouped$",))
    assert found.decision("grouped") == ("fp32", "node_name")
    assert found.decision("other")[0] == "fp16"
    assert sorted(tensor.data_type for tensor in found.after.graph.initializer) == [1, 10]
    found.assert_close()
