"""A metric of the user's own as a gate of a conversion."""

import json
from pathlib import Path

import pytest

from autocast_core.errors import ConfigError
from flows.request.spec import make_spec
from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import batches, client, mlp

pytestmark = pytest.mark.xdist_group("prefect")

METRIC = """
import numpy as np

def closeness(outputs, labels):
    return float(1 / (1 + np.abs(outputs["y"]).mean()))

def broken(outputs, labels):
    raise ValueError("no\\nanswer")
"""


@pytest.fixture
def run(workplace, autocast):  # noqa: F811
    """`run(...)` converts a small model with the metric at hand."""
    mlp(workplace / "m.onnx")
    batches(workplace / "d.npz")
    (workplace / "own_metric_of_a_gate.py").write_text(METRIC)

    def call(metric, gate):
        (workplace / "spec.yaml").write_text(f"gates: ['{gate}', no_new_nonfinite]\n")
        arguments = ("--calibration", "d.npz", "--spec", "spec.yaml", "--name", "judged-by-its-own-metric", "--json")
        return autocast("run", "m.onnx", *arguments, "--metric", metric)

    return call


def test_the_gate_is_on_the_metric_and_the_run_has_the_figures_of_every_batch(run):
    ended = run("own_metric_of_a_gate:closeness", "task_metric_ratio>=0.99")
    assert ended.code == 0, ended.err
    metrics = ended.json["metrics"]
    assert metrics["task/metric_ratio"] == metrics["task/metric"] / metrics["task/metric_fp32"]
    assert metrics["noise_floor/sqnr_db"] > metrics["fidelity/sqnr_db"]
    path = client().download_artifacts(ended.json["run_id"], "fidelity_batches.json")
    table = json.loads(Path(path).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    simulated = [row for row in rows if row["backend"] == "fidelity"]
    assert [row["batch"] for row in simulated] == list(range(6))
    assert max(row["max_abs"] for row in simulated) == pytest.approx(metrics["fidelity/max_abs"])


def test_a_missed_gate_registers_nothing_and_its_run_says_which(run):
    before = [model.name for model in client().search_registered_models()]
    ended = run("own_metric_of_a_gate:closeness", "task_metric_ratio>=2")
    assert ended.code == 3
    found = client().get_run(ended.json["run_id"])
    assert found.data.tags["autocast.gate"] == "failed"
    assert "task_metric_ratio>=2 task/metric_ratio is 1" in found.data.tags["autocast.failure"]
    assert [model.name for model in client().search_registered_models()] == before


def test_a_metric_that_raises_is_one_line(run):
    ended = run("own_metric_of_a_gate:broken", "task_metric_ratio>=0.99")
    assert ended.code == 2
    assert len(ended.errors) == 1 and "raises ValueError: no answer; its traceback is in the log" in ended.errors[0]
    assert "Traceback" not in ended.err


def test_a_metric_that_is_not_there_is_refused_before_anything_starts(run):
    ended = run("own_metric_of_a_gate:none", "task_metric_ratio>=0.99")
    assert ended.code == 2
    assert len(ended.errors) == 1 and "cannot be imported" in ended.errors[0]


@pytest.mark.parametrize("metric", ["closeness", "module:", ":function", "a:b:c", "a b:c"])
def test_a_spec_names_a_function_of_a_module(metric):
    with pytest.raises(ConfigError, match="metric: give module:function, not"):
        make_spec({"metric": metric}, "options")


PLANTED = """
from pathlib import Path

Path("PLANTED").touch()

def score(outputs, labels):
    return 1.0
"""


@pytest.fixture
def downloaded(workplace):
    """A folder of a stranger's: a model, a spec that names a metric, a module of that name."""
    mlp(workplace / "m.onnx")
    batches(workplace / "d.npz")
    (workplace / "strangers_metric.py").write_text(PLANTED)
    (workplace / "spec.yaml").write_text("metric: strangers_metric:score\n")
    (workplace / "fleet.yaml").write_text("models: [m.onnx]\nspec: {metric: 'strangers_metric:score'}\n")
    return workplace


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "m.onnx", "--spec", "spec.yaml"),
        ("run", "m.onnx", "--spec", "spec.yaml", "--dry-run"),
        ("tune", "m.onnx", "--spec", "spec.yaml", "--budget", "task_metric_ratio>=0.9"),
        ("validate", "m.onnx", "--reference", "m.onnx", "--spec", "spec.yaml", "--on", "simulation"),
        ("fleet", "fleet.yaml"),
    ],
    ids=["run", "run --dry-run", "tune", "validate", "fleet"],
)
def test_a_file_alone_has_no_module_of_the_current_folder_imported(downloaded, autocast, arguments):  # noqa: F811
    ended = autocast(*arguments)
    assert ended.code == 2
    assert ended.errors == [
        f"error: {arguments[-1] if arguments[0] == 'fleet' else 'spec.yaml'}: metric: strangers_metric:score runs code "
        "of the module strangers_metric: if you trust it, give --metric strangers_metric:score, or add "
        "strangers_metric to AUTOCAST_METRIC_MODULES"
    ]
    assert not (downloaded / "PLANTED").exists()


def test_a_module_that_the_user_lists_may_be_named_by_a_file(downloaded, autocast, monkeypatch):  # noqa: F811
    monkeypatch.setenv("AUTOCAST_METRIC_MODULES", "other:strangers_metric")
    assert autocast("run", "m.onnx", "--spec", "spec.yaml", "--calibration", "d.npz").code == 0
    assert (downloaded / "PLANTED").exists()
