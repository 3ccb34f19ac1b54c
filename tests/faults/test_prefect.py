"""Prefect's API gone in mid-run, and credentials that it does not take."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.local.embedded_server import free_port
from flows.local_stack import processes, stack
from tests.faults.test_kills import check_published, check_registered, command, variables
from tests.flows.conversions import batches, mlp, runs_of
from tests.real_servers import RealServers

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-prefect"), pytest.mark.timeout(1500)]
AUTOCAST = str(Path(sys.executable).parent / "autocast")
USER, PASSWORD = "operator", "planted:pass/word"
NAME = "guarded-prefect"


@pytest.fixture(scope="module")
def guarded(real_servers, tmp_path_factory):
    """A Prefect server of our own, to be stopped and started, that asks for a user and password."""
    auth, port = {"PREFECT_SERVER_API_AUTH_STRING": f"{USER}:{PASSWORD}"}, free_port()
    if real_servers is not None:
        real_servers.up("postgres", "prefect")
        place, process = real_servers, stack.prefect_server(real_servers.folder, NAME, port, **auth)
    else:
        place = RealServers(tmp_path_factory.mktemp("prefect"))
        database = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{place.folder / 'prefect.db'}"}
        process = stack.prefect_server(place.folder, NAME, port, **auth, **database)
    place.start(process)
    yield place, process
    place.stop(NAME)


@pytest.fixture
def settings(guarded, workplace, monkeypatch):
    """The variables of a run that uses it."""
    monkeypatch.setenv("PREFECT_API_URL", guarded[1].environment["PREFECT_API_URL"])
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", f"{USER}:{PASSWORD}")


def stopped(process):
    """Returns when the process has stopped itself."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), f"it ended with {status}"


def begun(point, model, data, output, **settings):
    """A conversion in a process of its own."""
    said = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command(point, model, data, output), env=variables(**settings), **said)


@contextmanager
def gone(guarded, run):
    """From the point at which the run stops itself no server is there, within the block."""
    place, server = guarded
    stopped(run)
    processes.kill(place.folder, NAME)
    run.send_signal(signal.SIGCONT)
    yield
    place.start(server)


def check_converted(name, model, output):
    assert check_published(output) == ["model.onnx", "plan.json"]
    assert len(check_registered(f"{name}-fp16")) == 1
    statuses = [each.info.status for each in runs_of(model)]
    assert "RUNNING" not in statuses
    return statuses


@pytest.mark.parametrize("stage", ["sanitize", "evaluate", "publish"])
def test_a_run_outlives_a_prefect_api_that_is_gone_for_a_minute(
    guarded, settings, workplace, trial, named, nightly, stage
):
    if stage != "publish" and not nightly:
        pytest.skip("with --nightly")
    seconds = 60 if nightly else 5
    name = named(f"minute-{stage}")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    run = begun(f"stop {stage}", model, data, output)
    with gone(guarded, run):
        time.sleep(seconds)
    said, _ = run.communicate(timeout=300)
    assert run.returncode == 0, said[-3000:]
    assert check_converted(name, model, output) == ["FINISHED"]
    trial(f"Prefect's API gone for {seconds} s: {stage}", 1, "the run goes on; one version, run FINISHED")


def test_a_run_without_prefects_api_ends_and_the_next_one_finds_what_it_did(
    guarded, settings, workplace, trial, named, nightly
):
    if not nightly:
        pytest.skip("Prefect's client takes minutes to give up on its events: with --nightly")
    name = named("gone-for-good")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    run = begun("stop sanitize", model, data, output, PREFECT_CLIENT_MAX_RETRIES="1")
    with gone(guarded, run):
        said, _ = run.communicate(timeout=900)
    assert run.returncode == 1, said[-3000:]
    check_published(output)
    again = begun("never", model, data, output)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said[-3000:]
    statuses = check_converted(name, model, output)
    trial("Prefect's API gone for good", 1, f"the run ends; the next registers one version; runs {', '.join(statuses)}")


def autocast(*arguments, **settings):
    """The command, with these variables too."""
    return subprocess.run([AUTOCAST, *arguments], env={**os.environ, **settings}, capture_output=True, text=True)


@pytest.mark.parametrize("wrong", [f"{USER}:wrong-planted", ""], ids=["a wrong password", "none"])
def test_a_wrong_prefect_credential_is_one_clear_line(guarded, settings, workplace, trial, named, nightly, wrong):
    if not wrong and not nightly:
        pytest.skip("no credential at all: with --nightly")
    model = mlp(workplace / f"{named('m')}.onnx")
    data = batches(workplace / "d.npz")
    variables = {**os.environ, "PREFECT_API_AUTH_STRING": wrong}
    done = subprocess.run(
        [AUTOCAST, "run", model, "--calibration", data, "--json"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2, done.stdout + done.stderr[-2000:]
    error = json.loads(done.stdout)["error"]
    assert "PREFECT_API_AUTH_STRING" in error and os.environ["PREFECT_API_URL"] in error
    assert "\n" not in error and "wrong-planted" not in error
    assert runs_of(model) == []
    trial(f"credentials: {'wrong' if wrong else 'no'} PREFECT_API_AUTH_STRING", 1, error)


def test_a_prefect_api_that_is_not_there_is_one_clear_line(workplace, trial, named, nightly):
    if not nightly:
        pytest.skip("with --nightly")
    url = f"http://127.0.0.1:{free_port()}/api"
    model, variables = mlp(workplace / f"{named('m')}.onnx"), {**os.environ, "PREFECT_API_URL": url}
    data = batches(workplace / "d.npz")
    done = subprocess.run(
        [AUTOCAST, "run", model, "--calibration", data, "--json"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 1, done.stdout + done.stderr[-2000:]
    error = json.loads(done.stdout)["error"]
    assert url in error and "PREFECT_API_URL" in error
    trial("Prefect's API that is not there", 1, error)
