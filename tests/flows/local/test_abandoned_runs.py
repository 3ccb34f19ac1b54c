"""Tracking runs whose process could not end them."""

import json
import subprocess
import sys
import uuid

import pytest

from autocast_core.errors import ServiceError
from flows.local.home import Home
from tests.flows.conversions import client, convert, mlp, runs_of

pytestmark = pytest.mark.xdist_group("prefect")

DIES = """
import sys
from flows.local.home import Home
from flows.local.abandoned_runs import run_marker
from pathlib import Path
with run_marker(Home(Path(sys.argv[1])), *sys.argv[2:]):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""


def a_run(services, flow_run):
    from tasks.tracking.registry.conversions import FLOW_RUN_TAG
    from tasks.tracking.runs import begin_run

    return begin_run(services, "left", {}, {FLOW_RUN_TAG: flow_run})


def die(home, services, flow_run):
    """A process dies in the midst of the flow run."""
    subprocess.run([sys.executable, "-c", DIES, str(home.root), services, flow_run], check=False)


def test_the_run_of_a_killed_process_is_ended_by_the_next_one_and_one_in_progress_is_not(workplace, services):
    from flows.local.abandoned_runs import end_abandoned_runs, run_marker

    home, ids = Home(workplace / "home"), [str(uuid.uuid4()) for _ in range(2)]
    dead, alive = (a_run(services, flow_run) for flow_run in ids)
    die(home, services, ids[0])
    with run_marker(home, services, ids[1]) as forget:
        assert end_abandoned_runs(home, services) == (dead.run_id,)
        assert end_abandoned_runs(home, services) == ()
        forget()
    assert client().get_run(dead.run_id).info.status == "KILLED"
    assert "ended before" in client().get_run(dead.run_id).data.tags["autocast.failure"]
    assert client().get_run(alive.run_id).info.status == "RUNNING"
    assert list((home.root / "running").iterdir()) == []


def test_a_run_that_ends_before_it_knows_its_tracking_run_leaves_none_running(workplace, monkeypatch):
    from flows.conversion import tracked_run

    def gone(*_, **__):
        raise ServiceError("tracking server: does not answer")

    model = mlp(workplace / "begun.onnx")
    with monkeypatch.context() as patch, pytest.raises(ServiceError):
        patch.setattr(tracked_run, "go_on", gone)
        convert(model, allow_random=True, validation="off")
    assert [each.info.status for each in runs_of(model)] == ["RUNNING"]
    convert(mlp(workplace / "next.onnx"), allow_random=True, validation="off")
    assert [each.info.status for each in runs_of(model)] == ["KILLED"]


def test_the_flow_run_of_a_killed_process_is_ended_too_and_a_deployed_one_is_left_to_its_worker(workplace, services):
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from flows.local.abandoned_runs import end_abandoned_runs

    @flow(name="killed")
    def killed():
        pass

    home, states = Home(workplace / "home"), []
    with get_client(sync_client=True) as prefect:
        alone = prefect.create_flow_run(killed, state=Running())
        deployment = prefect.create_deployment(prefect.create_flow(killed), "killed")
        deployed = prefect.create_flow_run_from_deployment(deployment, state=Running())
        for flow_run in (alone, deployed):
            dead = a_run(services, str(flow_run.id))
            die(home, services, str(flow_run.id))
            assert end_abandoned_runs(home, services) == (dead.run_id,)
            states.append(prefect.read_flow_run(flow_run.id).state.name)
    assert states == ["Crashed", "Running"]


def test_a_server_that_is_gone_at_the_end_hides_no_reason_and_the_next_run_makes_up_for_it(workplace, monkeypatch):
    from flows.conversion import tracked_run

    def gone(*_, **__):
        raise ServiceError("tracking server: does not answer")

    model = workplace / "page.onnx"
    model.write_text("<html>")
    with monkeypatch.context() as patch:
        patch.setattr(tracked_run, "end_run", gone)
        with pytest.raises(Exception, match="HTML"):
            convert(model)
    (run,) = runs_of(model)
    assert run.info.status == "RUNNING"
    convert(mlp(workplace / "next.onnx"), allow_random=True, validation="off")
    assert [each.info.status for each in runs_of(model)] == ["KILLED"]


def test_an_unreachable_tracking_server_is_asked_once_for_all_markers(workplace, services, monkeypatch):
    import flows.local.abandoned_runs as abandoned_runs

    asked = []

    def gone(uri, *_):
        asked.append(uri)
        raise ServiceError("tracking server: does not answer")

    home = Home(workplace / "home")
    for _ in range(3):
        with abandoned_runs.run_marker(home, services, str(uuid.uuid4())):
            pass
    monkeypatch.setattr(abandoned_runs, "end_abandoned", gone)
    assert abandoned_runs.end_abandoned_runs(home, services) == ()
    assert asked == [services]
    assert len(list((home.root / "running").iterdir())) == 3


def test_an_invalid_marker_does_not_stop_the_others(workplace, services):
    from flows.local.abandoned_runs import end_abandoned_runs

    home = Home(workplace / "home")
    (home.root / "running").mkdir(parents=True)
    for number, text in enumerate(
        ["", "[]", json.dumps({"run_id": "a"}), "{", json.dumps({"tracking_uri": services, "flow_run": "' or 1"})]
    ):
        (home.root / "running" / f"{number}.json").write_text(text)
    assert end_abandoned_runs(home, services) == ()


def test_a_planted_marker_makes_no_connection_to_its_address(workplace, services, monkeypatch):
    """The credentials of the environment went to that address."""
    import flows.local.abandoned_runs as abandoned_runs

    asked = []
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    monkeypatch.setattr(abandoned_runs, "end_abandoned", lambda uri, *_: asked.append(uri) or ())
    home = Home(workplace / "home")
    home.running.mkdir(parents=True)
    marker = {"tracking_uri": "http://127.0.0.1:9", "flow_run": str(uuid.uuid4())}
    (home.running / "planted.json").write_text(json.dumps(marker))
    assert abandoned_runs.end_abandoned_runs(home, services) == ()
    assert asked == []
    assert (home.running / "planted.json").exists()


def test_a_marker_that_is_a_link_is_not_read_and_what_it_leads_to_stays(workplace, services):
    from flows.local.abandoned_runs import end_abandoned_runs

    home, elsewhere, flow_run = Home(workplace / "home"), workplace / "elsewhere.json", str(uuid.uuid4())
    left = a_run(services, flow_run)
    elsewhere.write_text(json.dumps({"tracking_uri": services, "flow_run": flow_run}))
    home.running.mkdir(parents=True)
    (home.running / "link.json").symlink_to(elsewhere)
    assert end_abandoned_runs(home, services) == ()
    assert client().get_run(left.run_id).info.status == "RUNNING"
