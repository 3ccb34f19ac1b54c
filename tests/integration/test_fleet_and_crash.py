"""A worker's machine dies in mid-conversion; meanwhile a fleet is converted beside it, on threads and on Dask."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conversions import mlp
from tests.waiting import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration"), pytest.mark.timeout(500)]

MODELS = 12


@pytest.fixture(scope="module")
def killed(site):
    """A conversion whose worker and process are killed while it is tracked, and a new worker."""
    site.asked_version("killed")
    source = site.uri("killed")
    wait_for(lambda: site.tracking_runs(source), 150, "the beginning of the conversion")
    site.kill_workers()
    left = site.outputs("killed")
    site.up("worker")
    return left


@pytest.fixture(scope="module")
def fleet(site, killed, tmp_path_factory):
    """A fleet file with a model that does not exist, the folder, and what the command said of it."""
    folder = tmp_path_factory.mktemp("fleet")
    lines = ["spec: {validation: off, allow_random: true}", f"output: s3://models/fleet-{site.mark}/", "models:"]
    for number in range(MODELS):
        mlp(folder / f"{site.name(f'member{number}')}.onnx", number)
        lines.append(f"- {folder / site.name(f'member{number}')}.onnx")
    lines.append(f"- {folder / site.name('missing')}.onnx")
    (folder / "fleet.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, _fleet(folder)


def _begin(folder, file, *options):
    command = [str(Path(sys.executable).parent / "autocast"), "fleet", file, "--json", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=dict(os.environ), stdout=pipe, stderr=pipe, text=True)


def _end(begun):
    out, errors = begun.communicate(timeout=400)
    return begun.returncode, json.loads(out), errors


def _fleet(folder):
    return _end(_begin(folder, "fleet.yaml"))


def test_one_models_failure_does_not_stop_the_fleet(site, fleet):
    _, (code, said, errors) = fleet
    assert code == 2, errors
    assert (said["ok"], [one["ok"] for one in said["models"]]) == (False, [True] * MODELS + [False])
    assert "does not exist" in said["models"][-1]["error"]
    assert len({one["output_sha256"] for one in said["models"][:-1]}) == MODELS
    keys = {each["Key"] for each in site.s3.list_objects_v2(Bucket="models", Prefix=f"fleet-{site.mark}/")["Contents"]}
    assert f"fleet-{site.mark}/{site.name('member0')}-fp16/model.onnx" in keys


def test_a_second_run_converts_only_what_is_missing(site, fleet):
    folder, (_, first, _) = fleet
    mlp(folder / f"{site.name('missing')}.onnx", 99)
    code, second, errors = _fleet(folder)
    assert code == 0, errors
    assert [one["run_id"] for one in second["models"][:-1]] == [one["run_id"] for one in first["models"][:-1]]
    assert [len(site.outputs(f"member{number}")) for number in range(MODELS)] == [1] * MODELS
    assert len(site.outputs("missing")) == 1


def test_a_killed_dask_worker_loses_nothing_and_the_digests_are_those_of_threads(site, fleet):
    pytest.importorskip("prefect_dask", reason="needs the extra `dask`: uv run --extra dask")
    folder, (_, by_threads, _) = fleet
    members = [site.name(f"dask{number}") for number in range(MODELS)]
    for number, name in enumerate(members):
        mlp(folder / f"{name}.onnx", number)
    lines = ["spec: {validation: off, allow_random: true}", "models:", *(f"- {folder / name}.onnx" for name in members)]
    (folder / "dask.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    address = site.dask_cluster(2)
    begun = _begin(folder, "dask.yaml", "--runner", f"dask={address}")
    try:
        running = [str(folder / f"{name}.onnx") for name in members]
        wait_for(lambda: sum(len(site.flow_runs(model)) for model in running) >= 4, 200, "the fleet's first models")
        site.kill("dask-1")
        code, said, errors = _end(begun)
    finally:
        begun.kill()
        site.stop("dask-0", "dask-1", "dask-scheduler")
    assert code == 0, errors
    digests = [one["output_sha256"] for one in by_threads["models"][:MODELS]]
    assert [one["output_sha256"] for one in said["models"]] == digests
    assert [len(site.outputs(f"dask{number}")) for number in range(MODELS)] == [1] * MODELS


def test_a_killed_worker_leaves_nothing_half_done_and_the_next_run_succeeds(site, killed):
    assert killed == []
    wait_for(lambda: site.states(site.uri("killed")) == ["Crashed"], 240, "the silent run's state")
    site.ended(site.request("reconcile-registry/reconcile-registry", leave_minutes=0))
    wait_for(lambda: site.states(site.uri("killed")) == ["Crashed", "Completed"], 150, "the next run")
    assert len(site.outputs("killed")) == 1
    assert sorted(run.info.status for run in site.tracking_runs(site.uri("killed"))) == ["FINISHED", "KILLED"]
