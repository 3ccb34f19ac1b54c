"""Models that are stored in 16 bits already: converted to the other type, kept, excluded, and brought back to FP32."""

import numpy as np
import onnx
import onnx.parser
import pytest

from autocast_core import ConversionConfig, Precision, convert_file, widen_file
from autocast_core.__main__ import command
from autocast_core.errors import OutputError
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import EVALUATE, Evaluated
from tests.models import build
from tests.onnx_models import interface_types, operator_types, run_in_onnxruntime, run_in_reference

FLOAT, FP16, BF16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
W = np.array([[1.001, -2.0, 6e-8], [0.333, 65504.0, 4.0], [-1.0, 0.5, 2.5]], np.float16)
X = np.array([[0.5, 0.25, -1.5]], np.float16)
HEAD = '<ir_version: 10, opset_import: ["": 22]>\n'
HALF = HEAD + "g (float16[1,3] x) => (float16[1,3] y) { [m] a = MatMul(x, w) [r] y = Relu(a) }"
MIXED = (
    HEAD
    + """g (float[1,3] x) => (float[1,3] y) {
    xh = Cast<to = 10>(x)
    [m] a = MatMul(xh, w)
    f = Cast<to = 1>(a)
    [s] s = Sigmoid(f)
    h = Cast<to = 10>(s)
    [r] b = Relu(h)
    y = Cast<to = 1>(b)
}"""
)


def saved(path, text, dtype=FP16):
    model = onnx.parser.parse_model(text.replace("float16", {FP16: "float16", BF16: "bfloat16"}[dtype]))
    model.graph.initializer.append(onnx.helper.make_tensor("w", dtype, W.shape, W.astype(np.float32).ravel()))
    onnx.save(model, path)
    return path


def weights(path):
    return {each.name: (each.data_type, onnx.numpy_helper.to_array(each)) for each in onnx.load(path).graph.initializer}


@pytest.fixture
def half(tmp_path):
    return saved(tmp_path / "half.onnx", HALF)


def test_an_fp16_source_is_converted_to_bf16(half, tmp_path):
    done = convert_file(half, tmp_path / "out.onnx", ConversionConfig(precision=Precision.BF16, data_max=np.inf))
    assert done.plan.summary() == "Converted 2/2 nodes (100.00%) to bf16"
    assert interface_types(onnx.load(tmp_path / "out.onnx")) == {"x": BF16, "y": BF16}
    dtype, values = weights(tmp_path / "out.onnx")["w"]
    assert dtype == BF16
    expected = onnx.numpy_helper.to_array(onnx.helper.make_tensor("w", BF16, W.shape, W.astype(np.float32).ravel()))
    np.testing.assert_array_equal(values, expected)


def test_a_bf16_source_is_converted_to_fp16_as_an_fp32_one_is(tmp_path):
    """Its weight beyond FP16's range keeps the node that reads it in FP32."""
    path = saved(tmp_path / "bf16.onnx", HALF, BF16)  # 65504 is 65536 in BF16
    done = convert_file(path, tmp_path / "out.onnx", calibration={"x": X})
    assert {each.id: (each.precision, each.rule) for each in done.plan.nodes} == {
        "graph/m": ("fp32", "initializer_range"),
        "graph/r": ("fp32", "io_range"),
    }
    assert weights(tmp_path / "out.onnx")["w"][0] == FLOAT
    assert weights(tmp_path / "out.onnx")["w"][1].max() == 65536.0


def test_kept_inputs_and_outputs_stay_fp16_around_bf16(half, tmp_path):
    config = ConversionConfig(precision=Precision.BF16, keep_io_types=True, data_max=np.inf)
    convert_file(half, tmp_path / "out.onnx", config)
    assert interface_types(onnx.load(tmp_path / "out.onnx")) == {"x": FP16, "y": FP16}
    assert operator_types(tmp_path / "out.onnx") == ["Cast", "MatMul", "Relu", "Cast"]


def test_the_plan_of_a_converted_fp16_source_applies_again_with_the_same_bytes(half, tmp_path):
    done = convert_file(half, tmp_path / "out.onnx", ConversionConfig(precision=Precision.BF16))
    convert_file(half, tmp_path / "again.onnx", plan=done.plan)
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "out.onnx").read_bytes()


def test_nodes_that_have_16_bits_already_are_counted_apart(tmp_path):
    path = saved(tmp_path / "mixed.onnx", MIXED)
    done = convert_file(path, tmp_path / "out.onnx", ConversionConfig(data_max=np.inf))
    assert done.plan.summary() == "Converted 1/3 nodes (33.33%) to fp16; 2 had 16-bit types before"


def test_a_model_of_that_precision_is_said_to_be_converted_already(half, tmp_path):
    done = convert_file(half, tmp_path / "out.onnx")
    assert done.plan.summary() == "Converted 0/2 nodes (0.00%) to fp16; 2 had 16-bit types before"
    assert done.warnings == ("nothing was converted: 2 float nodes had 16-bit types before",)


def test_roundings_that_only_casts_do_are_kept(tmp_path):
    text = HEAD + "g (float[3] x) => (float[3] y) { h = Cast<to = 16>(x) f = Cast<to = 1>(h) [n] y = Neg(f) }"
    path = tmp_path / "rounding.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    convert_file(path, tmp_path / "out.onnx", ConversionConfig(nodes_to_exclude=("n",)))
    assert operator_types(tmp_path / "out.onnx") == ["Cast", "Cast", "Neg"]


@pytest.mark.parametrize("options", [{"nodes_to_exclude": ("m$",)}, {"op_types_to_exclude": ("MatMul",)}])
def test_an_excluded_fp16_node_computes_in_fp32(half, tmp_path, options):
    done = convert_file(half, tmp_path / "out.onnx", ConversionConfig(**options))
    model = onnx.load(tmp_path / "out.onnx")
    assert [node.op_type for node in model.graph.node] == ["Cast", "Cast", "MatMul", "Cast", "Relu"]
    assert done.plan.by_id()["graph/m"].precision == "fp32"
    assert interface_types(model) == {"x": FP16, "y": FP16}
    exact = np.maximum(X.astype(np.float32) @ W.astype(np.float32), 0)
    np.testing.assert_array_equal(run_in_reference(model, {"x": X})[0], exact.astype(np.float16))


def test_an_excluded_fp16_branch_computes_in_fp32_with_its_body(tmp_path):
    text = (
        HEAD
        + """g (bool c, float16[3] x) => (float16[3] y) {
        [if] y = If (c) <
            then_branch: graph = t () => (float16[3] a) { [neg] a = Neg (x) },
            else_branch: graph = e () => (float16[3] b) { [abs] b = Abs (x) }>
    }"""
    )
    path, out = tmp_path / "if.onnx", tmp_path / "out.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    convert_file(path, out, ConversionConfig(op_types_to_exclude=("If", "Neg", "Abs")))
    model = onnx.load(out)
    branches = [each.g for each in next(node for node in model.graph.node if node.op_type == "If").attribute]
    assert [branch.output[0].type.tensor_type.elem_type for branch in branches] == [FLOAT, FLOAT]
    found = run_in_onnxruntime(model, {"x": X[0], "c": np.array(True)})[0]
    np.testing.assert_array_equal(found, -X[0])


def test_an_excluded_node_that_no_schema_describes_keeps_its_types(tmp_path):
    text = HEAD.replace("22]", '22, "own": 1]') + "g (float16[3] x) => (float16[3] y) { [o] y = own.Op(x) }"
    path, out = tmp_path / "own.onnx", tmp_path / "out.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    done = convert_file(path, out, ConversionConfig(op_types_to_exclude=("Op",), data_max=np.inf))
    assert done.plan.by_id()["graph/o"].rule == "already_low"
    assert operator_types(out) == ["Op"]


@pytest.mark.parametrize("dtype", [FP16, BF16])
def test_a_widened_model_is_fp32_throughout_with_the_same_weights(tmp_path, dtype):
    path = saved(tmp_path / "low.onnx", HALF, dtype)
    before = weights(path)["w"][1].astype(np.float32)
    done = widen_file(path, tmp_path / "wide.onnx")
    model = onnx.load(tmp_path / "wide.onnx")
    assert interface_types(model) == {"x": FLOAT, "y": FLOAT}
    assert weights(tmp_path / "wide.onnx")["w"][0] == FLOAT
    np.testing.assert_array_equal(weights(tmp_path / "wide.onnx")["w"][1], before)
    found = run_in_onnxruntime(model, {"x": X.astype(np.float32)})[0]
    np.testing.assert_allclose(found, np.maximum(X.astype(np.float32) @ before, 0), rtol=1e-6)
    assert [change.detail for change in done.changes] == ["4 16-bit values of the source are FP32, 0 Casts are gone"]


def test_widening_leaves_no_cast_between_floats(tmp_path):
    widen_file(saved(tmp_path / "mixed.onnx", MIXED), tmp_path / "wide.onnx")
    model = onnx.load(tmp_path / "wide.onnx")
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Sigmoid", "Relu"]
    assert [value.name for value in model.graph.output] == ["y"]
    assert model.opset_import[0].version == 22


def test_an_output_behind_a_cast_that_goes_keeps_its_name_and_shape(tmp_path):
    """Inference finds no shape of what a Reshape to a computed shape makes."""
    text = (
        HEAD
        + """g (float16[6] x, int64[k] s) => (float[a,b] y) {
        [r] h = Reshape(x, s) [n] m = Neg(h) [c] y = Cast<to = 1>(m)
    }"""
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "reshaped.onnx")
    widen_file(tmp_path / "reshaped.onnx", tmp_path / "wide.onnx")
    model = onnx.load(tmp_path / "wide.onnx")
    (output,) = model.graph.output
    assert (output.name, [dim.dim_param for dim in output.type.tensor_type.shape.dim]) == ("y", ["a", "b"])
    assert operator_types(model) == ["Reshape", "Neg"]


def test_widening_keeps_the_interface_that_it_is_told_to_keep(half, tmp_path):
    widen_file(half, tmp_path / "wide.onnx", keep_io_types=["x"])
    assert interface_types(onnx.load(tmp_path / "wide.onnx")) == {"x": FP16, "y": FLOAT}
    assert operator_types(tmp_path / "wide.onnx") == ["Cast", "MatMul", "Relu"]


def test_widening_keeps_infinity_and_nan(tmp_path):
    special = np.array([np.inf, -np.inf, np.nan], np.float16)
    model = onnx.parser.parse_model(HEAD + "g (float16[3] x) => (float16[3] y) { [a] y = Add(x, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(special, "w"))
    onnx.save(model, tmp_path / "special.onnx")
    widen_file(tmp_path / "special.onnx", tmp_path / "wide.onnx")
    np.testing.assert_array_equal(weights(tmp_path / "wide.onnx")["w"][1], special.astype(np.float32))


def test_what_an_earlier_conversion_kept_is_open_again_after_widening(tmp_path):
    path = saved(tmp_path / "source.onnx", MIXED)
    convert_file(path, tmp_path / "low.onnx", ConversionConfig(nodes_to_exclude=("m", "s", "r"), data_max=np.inf))
    widen_file(tmp_path / "low.onnx", tmp_path / "wide.onnx")
    done = convert_file(tmp_path / "wide.onnx", tmp_path / "again.onnx", ConversionConfig(data_max=np.inf))
    assert {each.rule for each in done.plan.nodes} == {"default"}


def test_a_bf16_source_is_evaluated_beside_itself_in_fp32(tmp_path):
    """ONNX Runtime's CPU provider has no kernel for its nodes."""
    path = saved(tmp_path / "bf16.onnx", HALF, BF16)
    job = Job(path, ConversionConfig(data_max=np.inf, init_max=np.inf), {"x": X})
    made = run_stages((EVALUATE,), in_this_process(job), convert_in_memory(job))
    expected = np.maximum(X.astype(np.float32) @ W.astype(np.float32), 0)
    assert np.isclose(made[Evaluated].metrics["fidelity/max_abs"], 0, atol=2**-8 * expected.max())


def test_a_source_in_part_bf16_is_calibrated_for_bf16_as_if_that_part_were_fp32(tmp_path):
    """The FP32 rest of it needs ranges, and ONNX Runtime has no kernel for the BF16 part."""
    text = MIXED.replace("to = 10", "to = 16").replace("[s] s = Sigmoid(f)", "[s] s = Mul(f, f)")
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(onnx.helper.make_tensor("w", BF16, (3, 3), [40.0] * 9))
    onnx.save(model, tmp_path / "part.onnx")
    config = ConversionConfig(precision=Precision.BF16, keep_io_types=True)
    done = convert_file(tmp_path / "part.onnx", tmp_path / "out.onnx", config, calibration={"x": np.ones_like(X, "f4")})
    decided = {each.id.removeprefix("graph/"): (each.precision, each.rule) for each in done.plan.nodes}
    assert decided["s"] == ("fp32", "io_range")  # 120 squared is beyond data_max
    assert done.plan.data.origin == "calibration"


def test_the_command_widens(half):
    assert command(["--onnx_path", str(half), "--widen"]) == 0
    assert interface_types(onnx.load(half.with_suffix(".fp32.onnx"))) == {"x": FLOAT, "y": FLOAT}


def test_an_fp32_model_is_said_to_have_nothing_to_widen(half, tmp_path):
    widen_file(half, tmp_path / "wide.onnx")
    done = widen_file(tmp_path / "wide.onnx", tmp_path / "again.onnx")
    assert done.warnings == ("nothing was widened: the model holds no 16-bit floats",)


def test_widening_does_not_replace_its_source(half):
    with pytest.raises(OutputError):
        widen_file(half, half)


def test_widening_makes_no_plan(half, tmp_path, capsys):
    assert command(["--onnx_path", str(half), "--widen", "--save_plan", str(tmp_path / "plan.json")]) == 2
    assert capsys.readouterr().err == "error: --widen makes no plan: omit --plan and --save_plan\n"


@pytest.mark.parametrize("name", ["if_loop", "t5_small", "swin_tiny_traced"])
def test_an_architecture_goes_to_fp16_and_back_with_the_weights_of_fp16(name, tmp_path):
    built = build(name, tmp_path / "source", layers=2)
    convert_file(built.path, tmp_path / "low.onnx", ConversionConfig(data_max=np.inf))
    widen_file(tmp_path / "low.onnx", tmp_path / "wide.onnx")
    low, wide = weights(tmp_path / "low.onnx"), weights(tmp_path / "wide.onnx")
    assert {dtype for dtype, _ in wide.values()} & {FP16, BF16} == set()
    assert any(dtype == FP16 for dtype, _ in low.values())
    for weight, (_, values) in wide.items():
        np.testing.assert_array_equal(values, low[weight][1].astype(values.dtype))
