"""The MLflow run around a flow's work: named, tagged, and ended whatever happens."""

import os
import signal
import sqlite3
import time
import uuid
from contextlib import suppress
from types import SimpleNamespace

import pytest
from prefect.exceptions import TerminationSignal

from autocast_core.errors import GateError, InputError, OutputError, ServiceError
from autocast_core.version import VERSION
from flows.conversion.tracked_run import (
    end_tracking_run,
    failure_reason,
    model_stem,
    remove_old_work_folders,
    remove_work_folder_unless_retried,
    tracked_run,
)
from flows.local.abandoned_runs import run_marker
from flows.local.home import Home
from flows.local.own_files import make_work_folder
from tasks.storage.model_registry import resolve_tracking_uri
from tests.flows.conversions import client

pytestmark = pytest.mark.xdist_group("prefect")


def run_flow(home, body):
    """Runs `body` within a tracked run of a flow of its own; returns the MLflow run's id and what was raised."""
    from prefect import flow

    seen, timings = [], {}

    @flow(name="tracked")
    def tracked():
        with tracked_run(home, "a name", {"model": "m"}, {"autocast.source": "m"}, timings) as run:
            seen.append(run.run_id)
            body()

    error = None
    try:
        tracked()
    except BaseException as raised:
        error = raised
    assert "track" in timings
    return client().get_run(seen[0]), error


def test_a_run_that_succeeds_is_finished_with_version_and_flow_run_in_its_tags(workplace):
    home = Home(workplace / "home")
    run, error = run_flow(home, lambda: None)
    assert error is None
    assert (run.info.run_name, run.info.status) == ("a name", "FINISHED")
    assert run.data.params == {"model": "m"}
    assert run.data.tags["autocast.source"] == "m"
    assert run.data.tags["autocast.version"] == VERSION
    assert uuid.UUID(run.data.tags["autocast.flow_run"])
    assert list((home.root / "running").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (InputError("model.onnx:   no such file"), "model.onnx: no such file"),
        (ValueError("odd"), "ValueError: odd"),
        (ValueError(), "ValueError: no message"),
    ],
    ids=["our own error", "a bug", "a bug without words"],
)
def test_a_run_that_fails_holds_the_reason(workplace, error, reason):
    def fail():
        raise error

    home = Home(workplace / "home")
    run, _ = run_flow(home, fail)
    assert run.info.status == "FAILED"
    assert run.data.tags["autocast.failure"] == reason == failure_reason(error)
    assert list((home.root / "running").iterdir()) == []


@pytest.mark.parametrize("place", ["the run", "its beginning"])
def test_a_run_that_is_interrupted_in_a_query_does_not_wait_for_its_own_lock(workplace, monkeypatch, place):
    from prefect import flow

    def query(run=None):
        # The database is locked as long as anybody has this frame.
        database = sqlite3.connect(resolve_tracking_uri().removeprefix("sqlite:///"))
        cursor = database.execute("SELECT * FROM sqlite_master")
        next(cursor)
        raise KeyboardInterrupt

    if place == "its beginning":
        monkeypatch.setattr("flows.conversion.tracked_run.go_on", query)

    @flow(name="interrupted", on_crashed=[end_tracking_run])
    def interrupted():
        with tracked_run(Home(workplace / "home"), place, {"model": "m"}, {}, {}):
            query()

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    experiments = [each.experiment_id for each in client().search_experiments()]
    (run,) = client().search_runs(experiments, f"attributes.run_name = '{place}'")
    assert run.info.status == "KILLED"


def became_of(interrupt):
    error = ServiceError("the database is locked")
    error.__context__ = interrupt
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), "interrupted at the terminal (KeyboardInterrupt)"),
        (TerminationSignal(signal.SIGTERM), "cancelled, or its worker was told to stop (TerminationSignal)"),
        (SystemExit(1), "its process was ended (SystemExit)"),
        (became_of(KeyboardInterrupt()), "interrupted at the terminal (KeyboardInterrupt)"),
    ],
    ids=["an interrupt", "a cancellation", "a lost worker", "an error that an interrupt became"],
)
def test_a_run_that_is_stopped_from_outside_is_killed_and_says_by_what(workplace, error, reason):
    from prefect import flow

    seen = []

    @flow(name="stopped")
    def stopped():
        # Prefect itself would end this process.
        with suppress(type(error)), tracked_run(Home(workplace / "home"), "a name", {"model": "m"}, {}, {}) as run:
            seen.append(run.run_id)
            raise error

    stopped()
    run = client().get_run(seen[0])
    assert (run.info.status, run.data.tags["autocast.failure"]) == ("KILLED", reason)


def test_an_unreachable_tracking_server_does_not_hide_the_reason_and_the_next_run_ends_this_one(workplace, monkeypatch):
    def unreachable(*_, **__):
        raise ServiceError("tracking server: does not answer")

    def fail():
        raise InputError("the reason")

    home = Home(workplace / "home")
    with monkeypatch.context() as patch:
        patch.setattr("flows.conversion.tracked_run.end_run", unreachable)
        left, error = run_flow(home, fail)
    assert str(error) == "the reason"
    assert left.info.status == "RUNNING"
    run_flow(home, lambda: None)
    assert client().get_run(left.info.run_id).info.status == "KILLED"


def test_the_hook_ends_the_tracking_run_of_a_flow_run_whose_process_died(services):
    from tasks.tracking.registry.conversions import FLOW_RUN_TAG
    from tasks.tracking.runs import begin_run

    flow_run = str(uuid.uuid4())
    left = begin_run(services, "left", {}, {FLOW_RUN_TAG: flow_run})
    end_tracking_run(None, SimpleNamespace(id=flow_run), SimpleNamespace(name="Crashed", data=None))
    run = client().get_run(left.run_id)
    assert (run.info.status, run.data.tags["autocast.failure"]) == ("KILLED", "the flow run ended as Crashed")


@pytest.mark.parametrize(
    ("deployment", "error", "kept"),
    [
        (None, ServiceError("s3 does not answer"), False),
        ("a deployment", ServiceError("s3 does not answer"), True),
        ("a deployment", InputError("not a model"), False),
        ("a deployment", GateError("missed"), False),
    ],
    ids=["not deployed", "retried", "invalid input", "missed gate"],
)
def test_files_of_a_failed_run_are_kept_only_for_a_retry(tmp_path, monkeypatch, deployment, error, kept):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path))
    flow_run = str(uuid.uuid4())
    folder = make_work_folder(Home(tmp_path), flow_run)
    state = SimpleNamespace(result=lambda raise_on_failure: error)
    remove_work_folder_unless_retried(None, SimpleNamespace(id=flow_run, deployment_id=deployment), state)
    assert folder.exists() is kept


def test_files_of_runs_that_nobody_retried_for_a_week_are_removed(tmp_path):
    home = Home(tmp_path)
    old, new = (make_work_folder(home, str(uuid.uuid4())) for _ in range(2))
    for folder, days in ((old, 8), (new, 6)):
        os.utime(folder, (time.time() - days * 86400,) * 2)
    remove_old_work_folders(home)
    assert list(home.work.iterdir()) == [new]


def test_files_of_a_run_in_progress_stay_where_the_clock_is_set_forward(tmp_path):
    home, flow_run = Home(tmp_path), str(uuid.uuid4())
    folder = make_work_folder(home, flow_run)
    os.utime(folder, (0, 0))
    with run_marker(home, "sqlite:///mlflow.db", flow_run):
        remove_old_work_folders(home)
        assert folder.exists()
    remove_old_work_folders(home)
    assert not folder.exists()


def test_a_folder_below_work_that_we_did_not_make_is_never_removed(tmp_path):
    home = Home(tmp_path / "home")
    for name in ("thesis", str(uuid.uuid4())):
        (home.work / name).mkdir(parents=True)
        (home.work / name / "chapter").write_text("mine")
        os.utime(home.work / name, (0, 0))
    elsewhere = make_work_folder(Home(tmp_path / "other"), str(uuid.uuid4()))
    os.utime(elsewhere, (0, 0))
    (home.work / str(uuid.uuid4())).symlink_to(elsewhere)
    remove_old_work_folders(home)
    assert sum(1 for _ in home.work.iterdir()) == 3
    assert sum(1 for _ in home.work.rglob("chapter")) == 2
    assert elsewhere.exists()


def test_a_work_folder_that_is_a_link_to_a_folder_of_the_users_is_not_followed(tmp_path):
    theirs = Home(tmp_path / "theirs")
    old = make_work_folder(theirs, str(uuid.uuid4()))
    os.utime(old, (0, 0))
    planted = Home(tmp_path / "downloaded" / ".autocast")
    planted.root.mkdir(parents=True)
    planted.work.symlink_to(theirs.work)
    remove_old_work_folders(planted)
    remove_work_folder_unless_retried(
        None, SimpleNamespace(id=old.name, deployment_id=None), SimpleNamespace(result=lambda raise_on_failure: None)
    )
    assert old.exists()
    with pytest.raises(OutputError, match="is a link"):
        make_work_folder(planted, str(uuid.uuid4()))


@pytest.mark.parametrize(
    ("uri", "stem"),
    [
        ("models/bert.onnx", "bert"),
        ("s3://bucket/bert.onnx?versionId=1", "bert"),
        ("models:/bert/3", "bert/3"),
        ("models:/bert@champion", "bert@champion"),
        ("C:\\models\\bert.onnx", "bert"),
        ("folder/", "folder"),
        ("?", "?"),
    ],
)
def test_a_run_is_called_by_the_last_part_of_a_location_or_the_name_and_version(uri, stem):
    assert model_stem(uri) == stem
