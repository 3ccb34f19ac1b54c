"""Conversions that are finished while MLflow is gone: published later by the machine that has their files, or done
again by another one, which reads the first one's results on S3."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.settings import RESULT_BLOCK, RESULT_BLOCK_VARIABLE
from tests.integration.site import CONVERT, DATA
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration of operations"), pytest.mark.timeout(600)]

# That MLflow is gone is to be noticed soon.
SETTINGS = {RESULT_BLOCK_VARIABLE: RESULT_BLOCK, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@pytest.fixture(scope="module")
def unpublished(site):
    """Two runs that ended as Unpublished on the machine `first`; MLflow is up again, and no worker runs."""
    command = [Path(sys.executable).parent / "autocast", "results", f"s3://models/results-{site.mark}/"]
    subprocess.run(command, check=True)
    site.stop("worker", "second")
    site.machine("first", **SETTINGS)
    try:
        runs = {word: site.request(CONVERT, **_asked(site, word)) for word in ("spooled", "moved")}
        for run in runs.values():
            wait_for(lambda run=run: "sanitize" in site.task_states(run), 150, "the first stage after MLflow was asked")
        site.kill("mlflow")
        ended = {word: site.ended(run, 240) for word, run in runs.items()}
        assert {word: state.name for word, state in ended.items()} == dict.fromkeys(runs, "Unpublished"), ended
        site.kill("first")
        site.up("mlflow")
        yield runs
    finally:
        site.stop("first", "other")
        site.up()


def _asked(site, word):
    spec = {"name": f"{site.name(word)}-fp16", "evaluation": DATA, "validation": "off", "gates": ["no_new_nonfinite"]}
    return {"model": "s3://models/digits/model.onnx", "spec": spec}


def test_another_machine_does_the_conversion_again_in_the_same_tracking_run(site, unpublished):
    from prefect.client.orchestration import get_client
    from prefect.states import AwaitingRetry

    run = unpublished["moved"]
    site.machine("other", **SETTINGS)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, AwaitingRetry())
    state = site.ended(run, 240)
    site.stop("other")
    assert state.name == "Completed"
    assert {site.task_states(run)[name] for name in ("sanitize", "calibrate", "evaluate")} == {"Completed"}
    (version,) = site.outputs("moved")
    result = state.result()
    assert (result.registered, result.run_id) == (f"models:/{version.name}/{version.version}", version.run_id)
    assert [each.info.run_id for each in _tracked(site, "moved")] == [version.run_id]


def test_the_machine_that_has_the_files_publishes_them_once_reconcile_finds_the_run(site, unpublished):
    from flows.reconcile_registry import reconcile_registry

    run = unpublished["spooled"]
    site.machine("first", **SETTINGS)
    assert str(run.id) in reconcile_registry()["resumed"]
    assert site.ended(run, 240).name == "Completed"
    assert {site.task_states(run)[name] for name in ("sanitize", "evaluate")} == {"Cached"}
    (version,) = site.outputs("spooled")
    assert [each.info.run_id for each in _tracked(site, "spooled")] == [version.run_id]


def _tracked(site, word):
    mine = site.tracking_runs_where("params.model = 's3://models/digits/model.onnx'")
    return [run for run in mine if run.data.params["name"] == f"{site.name(word)}-fp16"]
