"""Evaluation and gates as plain functions, without Prefect's server."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate import AskedGates
from autocast_core.evaluate.metric_names import ONNXRUNTIME, SIMULATION
from autocast_core.model import file_digest
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.saved import JobRequest
from autocast_core.pipeline.stages.evaluate import Evaluated
from tasks.isolation import ProcessLimits, isolation
from tasks.stages.conversion import evaluate_models
from tasks.stages.gates import NO_DATA, check_gates
from tests.flows.conversions import batches, mlp


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model, its FP16 form and data, below one folder."""
    folder = tmp_path_factory.mktemp("pair")
    data = batches(folder / "d.npz")
    convert_file(mlp(folder / "m.onnx"), folder / "low.onnx", calibration=data)
    return tuple(ModelRef(folder / name, file_digest(folder / name)) for name in ("m.onnx", "low.onnx")), data


def evaluate_model(source, converted, evaluation, calibration, config, backends=(SIMULATION, ONNXRUNTIME), metric=None):
    """As the flow evaluates: `converted` beside `source`."""
    request = JobRequest(source, config, source.path.parent, calibration, evaluation, metric)
    return evaluate_models(request, converted, backends)


def test_both_backends_measure_an_fp16_model(pair):
    (source, converted), data = pair
    found = evaluate_model(source, converted, None, data, ConversionConfig())
    assert set(found.fidelity) == {SIMULATION, ONNXRUNTIME}
    assert (found.data, found.batches, found.skipped) == ("calibration", 6, ())
    assert found.digest == file_digest(data)
    assert 0 < found.metrics["fidelity/rel_l2"] < 5e-3


def test_a_bound_on_16_bit_insides_is_measured_where_it_is_asked_for(pair):
    (source, converted), data = pair
    found = evaluate_model(source, converted, None, data, ConversionConfig(accumulate="fp16"))
    prefix = "fidelity_bound_fp16"
    assert list(found.fidelity) == [SIMULATION, ONNXRUNTIME, prefix, f"{prefix}_but_MatMul"]
    bound, simulated = (found.metrics[f"{name}/rel_l2"] for name in (prefix, SIMULATION))
    assert simulated <= bound < 10 * simulated


def test_the_worth_of_fp32_inside_an_operator_type_is_measured(tmp_path):
    text = """
    <ir_version: 10, opset_import: ["" : 22]>
    main (float[n, 256] x) => (float[n, 256] y) <float[1] one = {1.0}> {
        a = LayerNormalization (x, one) b = ReduceMean (a) c = Softmax (a) d = Add (b, c) y = Mul (d, a)
    }
    """
    values = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    values[:, ::50] = 300
    np.savez(tmp_path / "d.npz", x=values)
    onnx.save(onnx.parser.parse_model(text), tmp_path / "m.onnx")
    config = ConversionConfig(op_types_to_include=("LayerNormalization", "ReduceMean"))
    convert_file(tmp_path / "m.onnx", tmp_path / "low.onnx", config, calibration=tmp_path / "d.npz")
    source, low = (ModelRef(tmp_path / name, file_digest(tmp_path / name)) for name in ("m.onnx", "low.onnx"))
    found = evaluate_model(source, low, None, tmp_path / "d.npz", ConversionConfig(accumulate="native"), (SIMULATION,))
    bound = "fidelity_bound_native"
    assert list(found.fidelity) == [SIMULATION, bound, f"{bound}_but_LayerNormalization", f"{bound}_but_ReduceMean"]
    decibels = {name: found.metrics[f"{name}/sqnr_db"] for name in found.fidelity}
    assert decibels[f"{bound}_but_LayerNormalization"] > decibels[bound] + 20
    assert decibels[SIMULATION] >= decibels[f"{bound}_but_LayerNormalization"]


def test_onnx_runtime_is_skipped_for_bf16_with_the_reason(pair):
    (source, _), data = pair
    config, low = ConversionConfig(precision=Precision.BF16), source.path.with_name("bf16.onnx")
    convert_file(source.path, low, config, calibration=data)
    found = evaluate_model(source, ModelRef(low, file_digest(low)), data, None, config)
    assert set(found.fidelity) == {SIMULATION}
    assert found.data == "evaluation"
    assert "BF16" in found.skipped[0]


def test_the_source_itself_without_optimisation_is_the_noise_floor(pair):
    (source, converted), data = pair
    found = evaluate_model(source, converted, None, data, ConversionConfig())
    assert found.noise_floor is not None
    assert found.metrics["noise_floor/rel_l2"] == found.noise_floor.worst.rel_l2 < 1e-6
    assert set(found.names) == {"y"}


def test_every_batch_of_each_backend_has_a_row(pair):
    (source, converted), data = pair
    table = evaluate_model(source, converted, None, data, ConversionConfig()).table()
    assert table["backend"] == [SIMULATION] * 6 + [ONNXRUNTIME] * 6
    assert table["batch"] == [*range(6), *range(6)]
    assert {len(column) for column in table.values()} == {12}


def test_a_metric_of_the_users_own_takes_labels_of_any_kind(pair, tmp_path, monkeypatch):
    (source, converted), _ = pair
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_regression.py").write_text(
        "import numpy as np\n\ndef fit(outputs, labels):\n    return -np.square(outputs['y'] - labels).mean()\n"
    )
    data = batches(tmp_path / "l.npz", x=np.eye(8, dtype="f4"), labels=np.full((8, 1), 0.5))
    found = evaluate_model(source, converted, data, None, ConversionConfig(), metric="own_regression:fit")
    assert set(found.task) == {"task/metric", "task/metric_fp32", "task/metric_ratio"}
    (gate,) = check_gates(AskedGates(("task_metric_ratio<=1.1",), allow_random=False), found)
    assert gate.passed and gate.value == found.task["task/metric"] / found.task["task/metric_fp32"]


def test_labels_give_task_metrics_of_both_models(pair, tmp_path):
    (source, converted), _ = pair
    data = batches(tmp_path / "l.npz", x=np.eye(8, dtype="f4"), labels=np.zeros(8, "i8"))
    found = evaluate_model(source, converted, data, None, ConversionConfig())
    assert found.task["task/top1"] == found.task["task/top1_fp32"]
    assert found.task["task/top1_drop"] == 0.0


def test_labels_that_do_not_fit_are_bad_data(pair, tmp_path):
    (source, converted), _ = pair
    data = batches(tmp_path / "l.npz", x=np.eye(8, dtype="f4"), labels=np.zeros(3, "i8"))
    with pytest.raises(DataError, match="labels"):
        evaluate_model(source, converted, data, None, ConversionConfig())


def test_gates_hold_or_say_what_was_measured(pair):
    (source, converted), data = pair
    found = evaluate_model(source, converted, data, None, ConversionConfig())
    asked = AskedGates(("y.rel_l2<=5e-3", "sqnr_db>=1000", "top1_drop<=0"), allow_random=False)
    held, missed, without = check_gates(asked, found)
    assert held.passed and held.value == found.metrics["fidelity/outputs/y/rel_l2"]
    assert not missed.passed and missed.reason.startswith("fidelity/sqnr_db is ")
    assert not without.passed and without.value is None and "labels" in without.reason


def test_gates_fail_on_random_data_unless_it_is_allowed(pair):
    (source, converted), _ = pair
    found = evaluate_model(source, converted, None, None, ConversionConfig())
    (refused,) = check_gates(AskedGates(("no_new_nonfinite",), allow_random=False), found)
    (allowed,) = check_gates(AskedGates(("no_new_nonfinite",)), found)
    assert (refused.passed, refused.reason) == (False, NO_DATA)
    assert allowed.passed


def test_a_gate_on_an_output_that_is_not_there_is_a_config_error(pair):
    (source, converted), data = pair
    found = evaluate_model(source, converted, data, None, ConversionConfig())
    with pytest.raises(ConfigError, match="no output 'logits'; the outputs are y"):
        check_gates(AskedGates(("logits.rel_l2<=1",), allow_random=False), found)


def test_no_gate_holds_where_nothing_could_be_measured(pair):
    (outcome,) = check_gates(AskedGates(("rel_l2<=1",)), Evaluated("evaluation", None, 1, skipped=("no kernel",)))
    assert (outcome.passed, outcome.reason) == (False, "no kernel")


OVERFLOW = """
<ir_version: 9, opset_import: ["": 18]>
far (float[N, 8] x) => (float[N, 8] y) <float k = {30000.0}> { [up] h = Mul(x, k) [down] y = Div(h, k) }
"""


def test_infinite_errors_come_out_of_the_isolated_process(tmp_path):
    onnx.save(onnx.parser.parse_model(OVERFLOW), tmp_path / "m.onnx")
    convert_file(tmp_path / "m.onnx", tmp_path / "low.onnx", ConversionConfig(data_max=float("inf")))
    source, converted = (ModelRef(tmp_path / name, file_digest(tmp_path / name)) for name in ("m.onnx", "low.onnx"))
    data = batches(tmp_path / "d.npz", x=np.full((2, 8), 4, "f4"))
    config = ConversionConfig(class_outputs=("y",))
    with isolation(ProcessLimits.from_environment({})):
        found = evaluate_model(source, converted, data, None, config)
    assert found == evaluate_model(source, converted, data, None, config)
    assert found.metrics["fidelity/outputs/y/max_abs"] == float("inf")
    assert found.metrics["fidelity/outputs/y/new_nonfinite"] == 16
    assert found.table()["kl"][0] == float("inf")
