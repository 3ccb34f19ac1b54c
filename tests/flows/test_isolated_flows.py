"""With `isolation: process` no file of a stranger is read by the process that holds the credentials."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.autocast_core.search.planted import SENSITIVE, planted_model
from tests.flows.cli.conftest import autocast  # noqa: F401 - used as a fixture
from tests.flows.conversions import batches, client, convert, mlp

pytestmark = pytest.mark.xdist_group("prefect")
BUDGETS = ("--budget", "sqnr_db>=55", "--budget", "no_new_nonfinite")
METRIC = """
import os, signal
from pathlib import Path

CALLS = []

def score(outputs, labels):
    CALLS.append(1)
    if len(CALLS) > 4 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0
"""


@pytest.fixture
def tune(autocast, workplace):  # noqa: F811
    """`tune(...)` runs the command, isolated, on the planted model and its data."""
    proto, data = planted_model()
    onnx.save(proto, "planted.onnx")
    np.savez("data.npz", **data)
    Path("spec.yaml").write_text("isolation: process\n")
    given = ("planted.onnx", "--evaluation", "data.npz", "--spec", "spec.yaml", *BUDGETS, "--json")
    return lambda *arguments: autocast("tune", *given, *arguments)


@pytest.fixture
def only_the_child_reads(monkeypatch):
    """Whatever opens a model or data fails in this process."""
    import autocast_core.data
    import autocast_core.model.protobuf.skeleton
    import autocast_core.model.reader
    import flows.convert_model
    import flows.tune_precision  # noqa: F401 - the modules that may hold the readers by name
    import tasks.storage.external_data  # noqa: F401

    def refuse(*_, **__):
        raise AssertionError("a file was read outside of isolation")

    reader = autocast_core.model.reader
    readers = [getattr(reader, name) for name in ("open_model", "load_model", "read_model", "model_files")]
    readers += [autocast_core.model.protobuf.skeleton.skeleton, autocast_core.data.open_batches]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("autocast_core", "tasks", "flows"):
            for attribute, value in list(vars(module).items()):
                if any(value is each for each in readers):
                    monkeypatch.setattr(module, attribute, refuse)


def newest_run():
    experiment = client().get_experiment_by_name("autocast")
    return client().search_runs([experiment.experiment_id], "tags.`autocast.flow` = 'tune-precision'")[0]


def test_a_conversion_reads_models_and_data_in_its_child_alone(workplace, only_the_child_reads):
    import mlflow

    model = mlp(workplace / "alone.onnx")
    result = convert(model, calibration=batches(workplace / "d.npz"), isolation="process", validation="off")
    loaded = mlflow.models.Model.load(result.registered)
    assert [(each.name, each.type.name, each.shape) for each in loaded.signature.inputs] == [
        ("x", "float16", (-1, 8)),
    ]
    assert loaded.load_input_example(result.registered)["x"].shape == (1, 8)
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=result.registered))
    assert "| input | x | float16 | N × 8 |" in (folder / "README.md").read_text()
    page = Path(client().download_artifacts(result.run_id, "report.html", str(workplace))).read_text()
    assert "graph/second" in page and '"relu"' in page


def test_a_search_reads_models_and_data_in_its_child_alone(tune, only_the_child_reads):
    ended = tune()
    assert ended.code == 0, ended.err
    assert set(ended.json["kept_fp32"]) <= SENSITIVE
    run = newest_run()
    steps = sorted(metric.step for metric in client().get_metric_history(run.info.run_id, "trial/fp32"))
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= ended.json["trials"] - 2
    assert re.search(r"search: \d+ evaluations", ended.err) or "search: done" in ended.err


def test_an_isolated_search_finds_what_one_in_this_process_finds(tune):
    isolated = tune("--output", "a.json").json
    Path("spec.yaml").write_text("isolation: none\n")
    for path in (Path(".autocast") / "trials").iterdir():
        path.unlink()
    plain = tune("--output", "b.json").json
    assert {**isolated, "plan": "", "certificate": []} == {**plain, "plan": "", "certificate": []}
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()


def test_a_killed_search_is_one_line_and_goes_on_where_it_stood(tune, workplace):
    (workplace / "killing_metric.py").write_text(METRIC)
    arguments = ("--metric", "killing_metric:score", "--budget", "task_metric_ratio>=0.5")
    ended = tune(*arguments)
    assert ended.code == 2
    assert len(ended.errors) == 1 and "search_plan: its process was killed" in ended.errors[0]
    assert newest_run().info.status == "FAILED"
    (kept,) = (Path(".autocast") / "trials").iterdir()
    before = kept.read_text().splitlines()
    assert before
    assert tune(*arguments).code == 0
    after = kept.read_text().splitlines()
    assert after[: len(before)] == before and len(after) > len(before)
    assert len({json.loads(line)["key"] for line in after}) == len(after)


def test_a_missed_budget_is_exit_code_3_and_a_metric_that_raises_is_in_the_log(tune, workplace):
    assert tune("--budget", "sqnr_db>=201").code == 3
    (workplace / "raising_metric.py").write_text("def score(outputs, labels):\n    return outputs['logits']\n")
    ended = tune("--metric", "raising_metric:score", "--budget", "task_metric_ratio>=0.5")
    assert ended.code == 2
    assert len(ended.errors) == 1 and "raises KeyError: 'logits'" in ended.errors[0]
    assert "Traceback" not in ended.err
    logs = "".join(path.read_text() for path in (workplace / ".autocast" / "logs").iterdir())
    assert "Traceback" in logs and "raising_metric.py" in logs


def test_commands_without_a_flow_read_in_their_child_alone(autocast, workplace, monkeypatch, only_the_child_reads):  # noqa: F811
    monkeypatch.setenv("AUTOCAST_ISOLATION", "process")
    model, data = mlp(workplace / "judged.onnx"), batches(workplace / "d.npz")
    result = convert(model, calibration=data, validation="off", output=workplace / "out")
    for command in (
        ("validate", result.output, "--reference", model, "--evaluation", data),
        ("plan", "apply", workplace / "out" / "plan.json", model, workplace / "again.onnx"),
        ("verify", result.registered),
        ("promote", result.registered, "--alias", "champion"),
    ):
        ended = autocast(*command, "--json")
        assert ended.code == 0, (command, ended.err)
    assert (workplace / "again.onnx").read_bytes() == Path(result.output).read_bytes()
