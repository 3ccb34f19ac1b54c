"""ONNX Runtime as a Runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.errors import BackendError, ConfigError
from autocast_core.model import load_model

CPU = OnnxRuntime(threads=1)
X = np.array([[1.0, -2.0]], np.float32)


def model_of(text: str) -> ir.Model:
    return ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 18]>' + text)


RELU = "g (float[1, 2] x) => (float[1, 2] y, float[1, 2] z) { y = Relu(x) z = Neg(x) }"


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"few_runs": True}, {"exact": True, "few_runs": True}])
def test_a_session_runs_and_names_what_it_is(options: dict[str, bool]) -> None:
    session = CPU.open(model_of(RELU), **options)
    assert (list(session.input_names), list(session.output_names), session.backend) == (
        ["x"],
        ["y", "z"],
        "onnxruntime-cpu",
    )
    y, z = session.run({"x": X})
    assert (y.tolist(), z.tolist()) == ([[1.0, 0.0]], [[-1.0, 2.0]])


@pytest.mark.parametrize("external", [False, True])
def test_weights_are_taken_from_their_files(tmp_path: Path, external: bool) -> None:
    weight = np.random.default_rng(0).random((2, 5000), np.float32)
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[1, 2] x) => (float[1, 5000] y) { y = MatMul(x, w) }'
    )
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    onnx.save_model(proto, tmp_path / "m.onnx", save_as_external_data=external, location="m.data")
    (y,) = CPU.open(load_model(tmp_path / "m.onnx"), few_runs=True).run({"x": X})
    assert np.allclose(y, X @ weight)


def test_floats_of_another_width_are_rounded_to_the_models() -> None:
    model = model_of("g (float16[2] h, float[2] f) => (float16[2] y, float[2] g) { y = Identity(h) g = Identity(f) }")
    y, g = CPU.open(model).run({"h": np.array([0.1, 1e6], np.float32), "f": np.array([1.5, 2.5], np.float16)})
    assert y.tolist() == np.array([0.1, np.inf], np.float16).tolist()
    assert g.dtype == np.float32


def test_bfloat16_goes_in_and_out() -> None:
    model = model_of("g (bfloat16[2] b) => (bfloat16[2] y, float[2] f) { y = Identity(b) f = Cast<to = 1>(b) }")
    y, f = CPU.open(model).run({"b": np.array([1.1, -3.0], np.float32)})
    assert y.dtype == ml_dtypes.bfloat16
    assert y.tolist() == f.tolist() == np.array([1.1, -3.0], ml_dtypes.bfloat16).tolist()


def test_sequences_come_as_lists() -> None:
    (out,) = CPU.open(model_of("g (float[2] x) => (seq(float[2]) s) { s = SequenceConstruct(x, x) }")).run(
        {"x": X.reshape(-1)}
    )
    assert [item.tolist() for item in out] == [[1.0, -2.0]] * 2


def test_a_refused_model_is_an_error_of_one_line_in_its_own_words() -> None:
    with pytest.raises(BackendError) as caught:
        CPU.open(model_of("g (float[1, 2] x) => (float[1, 2] y) { y = MatMul(x, x) }"))
    assert "ONNX Runtime refuses the model" in str(caught.value)
    assert "Incompatible dimensions" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_opset_that_the_runtime_does_not_know_is_named_with_the_one_that_it_does() -> None:
    model = model_of(RELU)
    model.graph.opset_imports[""] = 99
    known = r"supports ai\.onnx up to opset \d+, and the model has opset 99: export it with a lower opset, or install"
    with pytest.raises(BackendError, match=known):
        CPU.open(model)


def test_a_failing_run_is_an_error_of_one_line_in_its_own_words() -> None:
    session = CPU.open(model_of(RELU))
    with pytest.raises(BackendError, match=r"fails on the model: INVALID_ARGUMENT : .* Got: 3 Expected: 2") as caught:
        session.run({"x": np.zeros((1, 3), np.float32)})
    assert "\n" not in str(caught.value)


def test_a_closed_session_does_not_run() -> None:
    session = CPU.open(model_of(RELU))
    session.close()
    with pytest.raises(BackendError, match="closed"):
        session.run({"x": X})


@pytest.mark.parametrize("provider", ["gpu", "cpu:1", "cuda:x", ""])
def test_unknown_provider_names_are_refused(provider: str) -> None:
    with pytest.raises(ConfigError, match="give cpu, cuda, cuda:N, trt or trt:N"):
        OnnxRuntime((provider,))


def test_a_provider_that_is_not_there_is_a_warning_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """As AutoCast, which goes on with the CPU."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    runtime = OnnxRuntime(("cpu", "cuda:0"))
    assert [runtime.open(model_of(RELU)).backend for _ in range(2)] == ["onnxruntime-cpu"] * 2
    (warning,) = caplog.messages
    assert warning.startswith("this onnxruntime has no CUDAExecutionProvider: going on with ")


def test_nothing_is_printed_and_nothing_imported_before_a_session_is_opened() -> None:
    code = (
        "import sys\n"
        "from autocast_core.backends.onnxruntime import OnnxRuntime\n"
        "import autocast_core.calibrate, autocast_core.evaluate, autocast_core.simulate\n"
        "assert 'onnxruntime' not in sys.modules\n"
        "import onnx_ir as ir, numpy as np\n"
        'm = ir.from_onnx_text(\'<ir_version: 10, opset_import: ["":18]> g (float[N] x, float[M] z) => (float[K] y)'
        " { y = MatMul(x, z) }')\n"
        "try: OnnxRuntime(threads=1).open(m).run({'x': np.ones(2, 'f'), 'z': np.ones(3, 'f')})\n"
        "except Exception: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_fp16_lstm_opens_at_the_default_level() -> None:
    """ONNX Runtime 1.32 ends the process when it optimises one for its layouts."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 14]>
        agraph (float16[5, 2, 16] x, float16[2, 128, 16] w, float16[2, 128, 32] r, float16[2, 256] b)
            => (float16[5, 2, 2, 32] y) {
            y = LSTM <hidden_size = 32, direction = "bidirectional"> (x, w, r, b)
        }"""
    )
    session = OnnxRuntime(threads=1).open(ir.serde.deserialize_model(model))
    assert list(session.output_names) == ["y"]
    session.close()
