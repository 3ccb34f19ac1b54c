"""Calibration of models with custom operators, with their library and without."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.errors import BackendError, ConfigError, DataError, MissingOperatorError
from tests.custom_ops import compiled_library

TEXT = """<ir_version: 8, opset_import: ["": 17, "my.ops": 1]>
g (float[b,4] x, float[b,4] u) => (float[b,4] y, float[b,4] z, float[b,4] w) <float k = {1000}> {
  [before] a = Mul(x, k) [custom] h = my.ops.AddOne(a) [after] y = Mul(h, k) [beside] z = Add(u, k) [free] w = Neg(u)
}"""
X = np.array([[0.25, -0.5, 0.125, 1.0], [2.0, 0.5, 0.25, -1.0]], np.float32)
DATA = {"x": X, "u": X}
NAMES = ["before", "custom", "after", "beside"]


@pytest.fixture
def path(tmp_path):
    onnx.save(onnx.parser.parse_model(TEXT), tmp_path / "source.onnx")
    return tmp_path / "source.onnx"


def converted(path, data=DATA, **options):
    out = path.with_name("out.onnx")
    plan = convert_file(path, out, ConversionConfig(keep_io_types=True, **options), calibration=data).plan
    return plan, {each.id.removeprefix("graph/"): each for each in plan.nodes}, out


def test_with_its_library_the_whole_model_is_calibrated_and_runs(path, tmp_path):
    library = compiled_library(tmp_path)
    plan, nodes, out = converted(path, custom_op_libraries=(str(library),))
    assert (plan.data.origin, plan.warnings) == ("calibration", ())
    assert [str(nodes[name].rule) for name in NAMES] == ["io_range", "legality", "io_range", "io_range"]
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    y, z, w = onnxruntime.InferenceSession(out, options).run(None, DATA)
    np.testing.assert_allclose(y, (X * 1000 + 1) * 1000, rtol=1e-6)
    np.testing.assert_allclose(z, X + 1000, rtol=1e-6)
    assert np.array_equal(w, -X)


def test_without_it_what_does_not_follow_the_operator_is_calibrated(path):
    plan, nodes, _ = converted(path)
    assert plan.data.origin == "calibration"
    assert [nodes[name].rule for name in NAMES] == ["io_range", "legality", "default", "io_range"]
    assert plan.warnings == (
        "calibrated in part: 2 nodes that are or follow custom operators (AddOne): give their library with "
        "--custom_op_libraries or --trt_plugins (in a spec without --), or what they make in the data, under the names "
        "'h'; decided by the rules that need no data",
    )


def test_what_follows_the_operator_is_calibrated_on_what_the_data_has_of_it(path):
    plan, nodes, _ = converted(path, {**DATA, "h": X * 1000 + 1})
    assert [nodes[name].rule for name in NAMES] == ["io_range", "legality", "io_range", "io_range"]
    assert plan.warnings == (
        "calibrated in part: 1 node that is or follows custom operators (AddOne): give their library with "
        "--custom_op_libraries or --trt_plugins (in a spec without --); decided by the rules that need no data",
    )


def test_random_data_takes_no_place_of_what_an_operator_makes(path):
    plan, nodes, _ = converted(path, None)
    assert plan.data.origin == "random"
    assert nodes["after"].rule == "default"


def test_what_must_be_run_whole_asks_for_the_library(path):
    with pytest.raises(
        MissingOperatorError, match=r"custom operator my\.ops::AddOne, .*: give its library \(--custom_op"
    ):
        converted(path, decide="measured")
    assert MissingOperatorError.exit_code == 2
    assert not path.with_name("out.onnx").exists()


def test_data_that_nothing_can_be_calibrated_on_is_an_error_unless_that_is_allowed(tmp_path):
    path = tmp_path / "source.onnx"
    text = TEXT.replace("[before] a = Mul(x, k)", "").replace("(a)", "(x)").replace("(u", "(h")
    onnx.save(onnx.parser.parse_model(text), path)
    with pytest.raises(DataError, match=r"calibration data cannot be used: .*\(AddOne\): .* --allow_uncalibrated"):
        converted(path)
    assert not path.with_name("out.onnx").exists()
    plan, _, _ = converted(path, allow_uncalibrated=True)
    assert plan.data.origin == "none"
    assert plan.warnings[0].startswith("no calibration: no part of the model runs without custom operators (AddOne)")


def test_an_operator_in_a_body_cuts_the_whole_node(tmp_path):
    path = tmp_path / "source.onnx"
    text = """<ir_version: 8, opset_import: ["": 17, "my.ops": 1]>
    g (float[b,4] x, bool c) => (float[b,4] y) <float k = {1000}> {
      [before] a = Mul(x, k)
      [branch] h = If(c) <then_branch = t () => (float[b,4] p) { p = my.ops.AddOne(a) },
                          else_branch = e () => (float[b,4] q) { q = Neg(a) }>
      [after] y = Mul(h, k)
    }"""
    onnx.save(onnx.parser.parse_model(text), path)
    _, nodes, _ = converted(path, {"x": X, "c": np.array(True)})
    assert (nodes["before"].rule, nodes["after"].rule) == ("io_range", "default")


@pytest.mark.parametrize("content", [None, b"not a library"])
def test_a_library_that_cannot_be_loaded_is_an_error_of_the_option(path, tmp_path, content):
    library = tmp_path / "lib.so"
    if content is not None:
        library.write_bytes(content)
    with pytest.raises(ConfigError, match=r"custom_op_libraries: .*lib\.so cannot be loaded"):
        converted(path, custom_op_libraries=(str(library),))


@pytest.mark.parametrize("data", [DATA, None])
def test_a_runtime_that_runs_out_of_memory_leaves_no_given_data_unused_in_silence(path, data, monkeypatch, caplog):
    def open_model(*_, **__):
        raise BackendError("ONNX Runtime fails on the model: bad allocation")

    text = TEXT.replace("my.ops.AddOne", "Neg")
    onnx.save(onnx.parser.parse_model(text), path)
    monkeypatch.setattr("autocast_core.calibrate.runner.Calibrated.open", open_model)
    if data is None:
        plan, _, _ = converted(path, data)
        assert plan.warnings[0].startswith("no calibration: ONNX Runtime fails on the model: bad allocation")
        return
    with pytest.raises(DataError, match="bad allocation; run the model in more --segments, or decide by the") as raised:
        converted(path, data)
    assert raised.value.exit_code == 2
