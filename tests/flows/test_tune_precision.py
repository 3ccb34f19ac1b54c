"""`autocast tune` and the flow tune-precision, end to end on one Prefect server and one MLflow store."""

import json
import shlex
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.autocast_core.search.planted import SENSITIVE, planted_model
from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import client

pytestmark = pytest.mark.xdist_group("prefect")
BUDGETS = ("--budget", "sqnr_db>=55", "--budget", "no_new_nonfinite")


@pytest.fixture
def material(workplace):
    """Paths of the planted model and its data."""
    proto, data = planted_model()
    onnx.save(proto, workplace / "planted.onnx")
    np.savez(workplace / "data.npz", **data)
    return workplace / "planted.onnx", workplace / "data.npz"


@pytest.fixture
def tune(autocast, material):  # noqa: F811
    """`tune(...)` runs the command on the planted model and its data, as JSON."""
    model, data = material
    return lambda *arguments: autocast("tune", model, "--evaluation", data, *arguments, "--json")


def newest_run():
    experiment = client().get_experiment_by_name("autocast")
    return client().search_runs([experiment.experiment_id], "tags.`autocast.flow` = 'tune-precision'")[0]


def test_the_json_holds_the_plan_and_its_certificate(tune):
    ended = tune(*BUDGETS, "--output", "found")
    result = ended.json
    assert ended.code == 0, ended.err
    assert list(result) == ["ok", "error", "kept_fp32", "metrics", "trials", "certificate", "plan"]
    assert set(result["kept_fp32"]) <= SENSITIVE
    assert [entry["node"] for entry in result["certificate"]] == result["kept_fp32"]
    assert result["metrics"]["fidelity/sqnr_db"] >= 55
    assert result["trials"] == result["metrics"]["search/evaluations"] <= 40
    plan = json.loads(Path(result["plan"]).read_text())
    assert Path(result["plan"]) == Path("found/plan.json")
    kept = {node["id"] for node in plan["nodes"] if node["precision"] == "fp32"}
    # Angles are exact quantities, which no search lowers.
    assert kept == {f"graph/{name}" for name in (*result["kept_fp32"], "angle", "wave")}


def test_the_run_shows_every_trial_and_the_reasons(tune):
    result = tune(*BUDGETS).json
    run = newest_run()
    assert run.info.status == "FINISHED"
    assert run.data.tags["autocast.gate"] == "passed"
    assert run.data.tags["autocast.evaluation_data"] == "evaluation"
    trials = client().get_metric_history(run.info.run_id, "trial/fp32")
    steps = sorted(metric.step for metric in trials)
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= result["trials"] - 2
    names = {artifact.path for artifact in client().list_artifacts(run.info.run_id)}
    assert {"plan.json", "summary.md", "certificate.json", "attribution.json"} <= names
    description = run.data.tags["mlflow.note.content"]
    assert result["certificate"][0]["command"] in description
    assert "batches of evaluation data" in description and "Noise floor" in description
    assert "| `graph/overflow` | Mul |" in description


def test_a_front_is_in_the_output_and_in_the_run_and_each_point_can_be_applied(tune, autocast, material):  # noqa: F811
    ended = tune(*BUDGETS, "--pareto", "--minimize", "traffic", "--output", "found")
    front = ended.json["pareto"]
    assert ended.code == 0, ended.err
    assert [row["number"] for row in front] == list(range(1, len(front) + 1)) and len(front) > 1
    assert all(less["cost"] < more["cost"] and less["sqnr_db"] < more["sqnr_db"] for less, more in pairwise(front))
    run = newest_run()
    paths = {artifact.path for artifact in client().list_artifacts(run.info.run_id)}
    assert {"pareto.json", "pareto.png", "pareto"} <= paths
    assert "Accuracy against cost (bytes)" in run.data.tags["mlflow.note.content"]
    applied = autocast("plan", "apply", front[0]["plan"], material[0], "point.onnx", "--json")
    assert applied.code == 0 and Path("point.onnx").exists()


def test_the_printed_command_measures_a_reason_again(tune, autocast):  # noqa: F811
    entry = tune(*BUDGETS).json["certificate"][0]
    apply, judge = (shlex.split(part)[1:] for part in entry["command"].split("&&"))
    assert autocast(*apply).code == 0
    fidelity = autocast(*judge, "--json").json["fidelity"]
    expected = entry["metrics"]["fidelity/sqnr_db"]
    assert fidelity["fidelity/sqnr_db"] == pytest.approx(expected, rel=1e-6)
    assert fidelity["fidelity/new_nonfinite"] == entry["metrics"]["fidelity/new_nonfinite"]


def test_a_reason_on_a_metric_of_ones_own_is_measured_again_as_it_was(tune, autocast, workplace):  # noqa: F811
    (workplace / "own_tune_metric.py").write_text(
        "import numpy as np\n\ndef score(outputs, labels):\n"
        "    return float(np.nan_to_num(1 / (1 + np.abs(outputs['y'] - 0.25).mean())))\n"
    )
    (workplace / "spec.yaml").write_text("batch_size: 8\n")
    budget = ("--budget", "task_metric_ratio>=0.999", "--metric", "own_tune_metric:score", "--spec", "spec.yaml")
    entry = tune(*budget).json["certificate"][0]
    apply, judge = (shlex.split(part)[1:] for part in entry["command"].split("&&"))
    assert autocast(*apply).code == 0
    again = autocast(*judge, "--json").json["fidelity"]
    assert again["task/metric_ratio"] == pytest.approx(entry["metrics"]["task/metric_ratio"], rel=1e-6)
    assert again["task/metric_ratio"] < 0.999


def test_a_second_search_measures_nothing_again(tune, material):
    first = tune(*BUDGETS).json
    lines = [path.read_text() for path in (Path(".autocast") / "trials").glob("*.jsonl")]
    second = tune(*BUDGETS).json
    assert second["kept_fp32"] == first["kept_fp32"]
    assert lines == [path.read_text() for path in (Path(".autocast") / "trials").glob("*.jsonl")]


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_a_search_on_a_dask_cluster_finds_what_one_alone_finds(tune, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    alone = tune(*BUDGETS, "--output", "alone").json
    # A home folder of its own, in which nothing is measured yet.
    monkeypatch.setenv("AUTOCAST_HOME", "other")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "preload": ["tasks.dask_preload"]}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as dask:
        ended = tune(*BUDGETS, "--output", "shared", "--runner", f"dask={cluster.scheduler_address}")
        logs = dask.run(lambda dask_worker: str(list(dask_worker.state.log)))
    assert ended.code == 0, ended.err
    assert any("_with_threads" in log for log in logs.values()), "no worker has measured anything"
    assert (ended.json["kept_fp32"], ended.json["trials"]) == (alone["kept_fp32"], alone["trials"])
    assert Path("shared/plan.json").read_bytes() == Path("alone/plan.json").read_bytes()


def test_a_person_reads_what_is_kept_and_how_to_check_it(autocast, material):  # noqa: F811
    model, data = material
    ended = autocast("tune", model, "--evaluation", data, *BUDGETS)
    assert "none of them can be lowered alone" in ended.out
    assert "- overflow (" in ended.out
    assert "lowered too: sqnr_db>=55 fails" in ended.out or "lowered too: no_new_nonfinite fails" in ended.out
    assert "check it: autocast plan apply" in ended.out


def test_a_limit_ends_with_the_best_plan_so_far(tune):
    ended = tune(*BUDGETS, "--max-trials", "6")
    assert ended.code == 0
    assert ended.json["trials"] == 6
    assert ended.json["metrics"]["search/complete"] == 0


def test_a_budget_that_cannot_be_met_is_a_missed_gate(tune):
    ended = tune("--budget", "sqnr_db>=201")
    assert ended.code == 3
    assert ended.json["ok"] is False and "not even the all-FP32 model" in ended.json["error"]
    assert newest_run().info.status == "FAILED"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "snr>=40"), "unknown metric 'snr'"),
        (("--budget", "nowhere.sqnr_db>=40"), "no output 'nowhere'; the outputs are y"),
        (("--budget", "sqnr_db"), "is not a comparison"),
        (("--budget", "task_metric_ratio>=1", "--metric", "nothing"), "give module:function"),
        (("--budget", "sqnr_db>=40", "--max-trials", "1"), "give at least 3"),
        (("--budget", "sqnr_db>=40", "--evaluation", "none.npz"), "does not exist"),
        (("--budget", "sqnr_db>=40", "--minimize", "tokens"), "tokens"),
        ((), "budget"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tune, arguments, message):
    ended = tune(*arguments)
    assert ended.code == 2
    assert len(ended.errors) == 1 and message in ended.errors[0]
    assert ended.json["ok"] is False


def test_a_metric_that_raises_is_one_line_with_its_traceback_in_the_log(tune, workplace):
    (workplace / "broken_task_metric.py").write_text("def score(outputs, labels):\n    return outputs['logits']\n")
    ended = tune("--budget", "task_metric_ratio>=0.9", "--metric", "broken_task_metric:score")
    assert ended.code == 2
    assert len(ended.errors) == 1 and "raises KeyError: 'logits'" in ended.errors[0]
    assert "Traceback" not in ended.err
    logs = "".join(path.read_text() for path in (workplace / ".autocast" / "logs").iterdir())
    assert "Traceback" in logs and "broken_task_metric.py" in logs


def test_nan_in_the_fp32_model_is_named(autocast, workplace):  # noqa: F811
    text = '<ir_version: 9, opset_import: ["": 18]> bad (float[N, 4] x) => (float[N, 4] y) { h = Sqrt(x) y = Relu(h) }'
    onnx.save(onnx.parser.parse_model(text), workplace / "bad.onnx")
    np.savez(workplace / "negative.npz", x=-np.ones((2, 4), np.float32))
    ended = autocast("tune", "bad.onnx", "--evaluation", "negative.npz", "--budget", "sqnr_db>=40", "--json")
    assert ended.code == 3
    assert ended.json["error"] == (
        "gate missed: no_nonfinite the FP32 model itself computes NaN on the evaluation data, first in tensor 'h' and 1"
        " more; fix the model or the data before a search"
    )


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        ("nan", "weight 'w' holds 1 NaN or infinite values"),
        ("3e38", "the FP32 model itself gives infinity on batch 0 of the evaluation data, in output 'y'"),
    ],
)
def test_nan_in_weights_and_infinity_in_the_result_miss_a_gate(autocast, workplace, weight, said):  # noqa: F811
    text = (
        '<ir_version: 9, opset_import: ["": 18]> g (float[N, 2] x) => (float[N, 2] y)'
        f" <float[2] w = {{1, {weight}}}> {{ [scale] y = Mul(x, w) }}"
    )
    onnx.save(onnx.parser.parse_model(text), workplace / "bad.onnx")
    np.savez(workplace / "d.npz", x=np.full((2, 2), 10.0, np.float32))
    ended = autocast("tune", "bad.onnx", "--evaluation", "d.npz", "--budget", "rel_l2<=1", "--json")
    assert ended.code == 3
    assert ended.json["error"].startswith(f"gate missed: no_nonfinite {said}")
    assert "allow_nonfinite: true" in ended.json["error"]


def test_without_data_nothing_is_searched(autocast, material):  # noqa: F811
    ended = autocast("tune", material[0], "--budget", "sqnr_db>=40")
    assert ended.code == 2
    assert "give --evaluation" in ended.errors[0]
    assert not Path(".autocast", "tune").exists()
