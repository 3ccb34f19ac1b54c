"""`autocast run` decides by measuring: what its simulation shows to be ruined is repaired, or refused and blamed."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core.plan import PrecisionPlan
from flows.conversion.result import GateMissedError
from tests.autocast_core.pipeline.test_measured import RUINED, data
from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import batches, client, convert, registered, runs_of

pytestmark = pytest.mark.xdist_group("prefect")


def ruined(path):
    onnx.save(onnx.parser.parse_model(RUINED), path)
    return path


def artifact(model, name):
    return Path(client().download_artifacts(runs_of(model)[0].info.run_id, name)).read_text(encoding="utf-8")


@pytest.mark.parametrize("isolation", ["none", "process"])
def test_a_ruined_model_is_repaired_and_the_run_says_how(workplace, isolation):
    model, calibration = ruined(workplace / f"{isolation}.onnx"), batches(workplace / "d.npz", **data())
    output = workplace / f"{isolation}-out"
    result = convert(model, calibration=calibration, batch_size=8, validation="off", isolation=isolation, output=output)
    assert result.passed and result.registered
    assert result.metrics["fidelity/worst_batch/sqnr_db"] == result.metrics["repair/sqnr_db_after"] > 60
    assert (result.metrics["repair/kept_fp32"], result.metrics["repair/met"]) == (1.0, 1.0)
    assert 1 <= result.metrics["repair/evaluations"] <= 12
    assert runs_of(model)[0].data.metrics["repair/gained_db"] > 20
    said = "Decided by measuring: 1 more node(s) in FP32"
    assert result.repaired.startswith(said) and said in artifact(model, "summary.md")
    assert said in artifact(model, "report.html")
    assert said in registered(f"{isolation}-fp16")[0].description
    published = PrecisionPlan.from_json((output / "plan.json").read_text())
    assert published.by_id()["graph/subtract"].rule == "repair"
    assert artifact(model, "plan.json") == (output / "plan.json").read_text()
    assert result.timings["repair"] > 0


def test_a_model_that_needs_no_repair_runs_each_stage_once(workplace):
    model = ruined(workplace / "fine.onnx")
    result = convert(model, calibration=batches(workplace / "d.npz", **data(gain=1.0)), batch_size=8, validation="off")
    assert result.passed and result.repaired is None and "repair" not in result.timings
    assert not any(name.startswith("repair/") for name in result.metrics)


@pytest.mark.parametrize("options", [{"decide": "thresholds"}, {"repair_evaluations": 0}])
def test_without_repair_the_gate_is_missed_and_names_the_node(workplace, options):
    model = ruined(workplace / "unrepaired.onnx")
    with pytest.raises(GateMissedError, match="% of the error comes from Sub 'graph/subtract'"):
        convert(model, calibration=batches(workplace / "d.npz", **data()), batch_size=8, validation="off", **options)
    assert registered("unrepaired-fp16") == []


def test_a_target_that_no_plan_meets_exits_with_3_names_the_node_and_keeps_the_best_plan(workplace, autocast):  # noqa: F811
    (workplace / "spec.yaml").write_text("nodes_to_include: [subtract]\nvalidation: off\nbatch_size: 8\n")
    model, calibration = ruined(workplace / "lost.onnx"), batches(workplace / "d.npz", **data())
    ended = autocast("run", model, "--calibration", calibration, "--spec", workplace / "spec.yaml", "--json")
    assert ended.code == 3
    assert "worst_batch.sqnr_db>=40" in ended.json["error"] and "comes from Sub 'graph/subtract'" in ended.json["error"]
    record = json.loads(artifact(model, "plan.json"))["data"]["repair"]
    assert record["met"] is False and record["stopped"] == "no plan comes closer"
    assert any("the target is not met" in warning for warning in ended.json["warnings"])


def test_gates_of_the_users_own_are_the_target(workplace):
    model, calibration = ruined(workplace / "own.onnx"), batches(workplace / "d.npz", **data(gain=1.0))
    result = convert(model, calibration=calibration, batch_size=8, validation="off", gates=("sqnr_db>=70",))
    assert result.passed and result.metrics["repair/kept_fp32"] == 1.0


def test_the_evaluation_data_judges_what_the_calibration_data_repaired(workplace):
    model = ruined(workplace / "judged.onnx")
    calibration = batches(workplace / "c.npz", **data(1))
    evaluation = batches(workplace / "e.npz", **data(2))
    result = convert(model, calibration=calibration, evaluation=evaluation, batch_size=8, validation="off")
    plan = PrecisionPlan.from_json(artifact(model, "plan.json"))
    assert result.passed and plan.data.repair.digest == plan.data.digest
    assert result.metrics["fidelity/worst_batch/sqnr_db"] != pytest.approx(plan.data.repair.sqnr_db_after, abs=1e-6)


def test_random_data_that_no_gate_accepts_repairs_nothing(workplace):
    model = ruined(workplace / "random.onnx")
    with pytest.raises(GateMissedError, match="no data") as caught:
        convert(model, validation="off")
    assert caught.value.result.repaired is None


def test_the_terminal_says_what_was_repaired(workplace, autocast):  # noqa: F811
    (workplace / "spec.yaml").write_text("validation: off\nbatch_size: 8\n")
    model, calibration = ruined(workplace / "said.onnx"), batches(workplace / "d.npz", **data())
    ended = autocast("run", model, "--calibration", calibration, "--spec", workplace / "spec.yaml")
    assert ended.code == 0
    assert "Decided by measuring: 1 more node(s) in FP32" in ended.out
    assert "repair ..." in ended.err and "repair: done after" in ended.err


PERCEPTRON = """
<ir_version: 9, opset_import: ["": 17]>
perceptron (float[N, 64] x, float[64, 64] w) => (float[N, 64] y) <float one = {1}>
{
    [up] a = MatMul(x, w)
    [erf] b = Erf(a)
    [plus] c = Add(b, one)
    [gelu] d = Mul(a, c)
    [down] y = MatMul(d, w)
}
"""


def test_for_tensorrt_what_computes_inside_a_kernel_is_fp32_and_is_told_from_what_is_kept(workplace):
    path = workplace / "inside.onnx"
    onnx.save(onnx.parser.parse_model(PERCEPTRON), path)
    rng = np.random.default_rng(0)
    arrays = {"x": rng.standard_normal((8, 64)), "w": rng.standard_normal((64, 64)) / 8}
    calibration = batches(workplace / "d.npz", **{name: each.astype("f4") for name, each in arrays.items()})
    output = workplace / "inside-out"
    result = convert(
        path,
        calibration=calibration,
        batch_size=8,
        validation="off",
        target="tensorrt",
        isolation="process",
        output=output,
    )
    plan = PrecisionPlan.from_json((output / "plan.json").read_text())
    inside = {each.id for each in plan.nodes if each.rule == "free"}
    assert inside == {"graph/erf", "graph/plus", "graph/gelu"}
    assert result.metrics["nodes/fp32_inside_kernels"] == result.metrics["nodes/fp32"] == 3.0
    assert plan.summary().endswith("3 compute in FP32 inside a kernel, 0 are kept in FP32 at a price")
    assert result.timings["free"] > 0
