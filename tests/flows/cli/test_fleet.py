"""What `autocast fleet` shows."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from flows.request.fleet_file import ModelOutcome, fleet_failure

FLEET = "models: [a.onnx, b.onnx]\n"


@pytest.fixture
def a_fleet_in_which(monkeypatch, tmp_path):
    """`a_fleet_in_which(outcomes)`: the file of a fleet whose flow ends with these outcomes."""

    def make(outcomes):
        from flows import convert_fleet
        from flows.local import session

        class Flow:
            def with_options(self, **_):
                return self

            def __call__(self, models):
                if (failure := fleet_failure(outcomes)) is not None:
                    raise failure
                return [outcome.plain() for outcome in outcomes]

        @contextmanager
        def no_session(_):
            yield tmp_path / "log"

        monkeypatch.setattr(convert_fleet, "convert_fleet", Flow())
        monkeypatch.setattr(session, "flow_session", no_session)
        file = tmp_path / "fleet.yaml"
        file.write_text(FLEET)
        return file

    return make


CONVERTED = ModelOutcome("a.onnx", True, result={"summary": "all low", "registered": "models:/a/1", "output": None})
FAILED = ModelOutcome("b.onnx", False, "not a model", 2)


def test_the_table_has_all_models_where_some_failed(autocast, a_fleet_in_which):
    done = autocast("fleet", a_fleet_in_which([CONVERTED, FAILED]))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.out.splitlines() if "│" in line]
    assert [row[:2] for row in rows] == [["a.onnx", "converted"], ["b.onnx", "failed"]]
    assert "not a model" in done.out and "models:/a/1" in done.out
    assert done.code == 2 and done.errors == ["error: 1 of 2 models were not converted; the first: b.onnx: not a model"]


def test_json_has_all_models_where_some_failed_and_no_table(autocast, a_fleet_in_which):
    done = autocast("fleet", a_fleet_in_which([CONVERTED, FAILED]), "--json")
    assert [each["ok"] for each in done.json["models"]] == [True, False] and not done.json["ok"]


def test_processes_that_a_fleet_starts_write_to_the_log_of_the_command(tmp_path):
    pytest.importorskip("prefect_dask", reason="the extra `dask` is not installed")
    from flows.cli.fleet import task_runner

    log = tmp_path / "log"
    program = "import os; from tasks.dask_preload import dask_setup; dask_setup(None); os.write(2, b'said')"
    variables = {**os.environ, **task_runner("dask", log).cluster_kwargs["env"]}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True)
    assert (done.returncode, done.stderr, log.read_text()) == (0, b"", "said")


def test_progress_counts_models_and_not_their_stages(monkeypatch):
    from flows import convert_fleet
    from flows.request.fleet_file import FleetModel
    from tasks.progress import SilentListener, listening

    class Counting(SilentListener):
        def __init__(self):
            self.seen = []

        def update(self, progress):
            self.seen.append((progress.stage, progress.done, progress.total, progress.unit))

    class Future:
        def result(self, raise_on_failure):
            return CONVERTED.plain()

    monkeypatch.setattr(convert_fleet, "as_completed", reversed)
    counting = Counting()
    with listening(counting):
        outcomes = convert_fleet._outcomes(
            [FleetModel(model="a.onnx"), FleetModel(model="c.onnx")], [Future(), Future()]
        )
    assert outcomes == [CONVERTED, CONVERTED]
    assert counting.seen == [("convert", 1, 2, "models"), ("convert", 2, 2, "models")]
