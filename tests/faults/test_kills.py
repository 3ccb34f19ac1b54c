"""kill -9 at every stage boundary and within writes: nothing half-published, none left RUNNING, a re-run succeeds."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from tests.faults.test_transfers import contents
from tests.flows.conversions import batches, client, mlp, registered, runs_of

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-kills")]
STAGES = ("fetch", "sanitize", "calibrate", "decide", "apply", "verify", "evaluate", "explain", "validate", "track")
STAGES += ("publish",)
POINTS = [f"{edge} {stage}" for stage in STAGES for edge in ("begin", "end")] + [f"rename {n}" for n in range(1, 6)]
POINTS += [f"call {step}" for step in ("publish_task", "check_unchanged", "register_task", "keep_result")]
SAMPLE = ("end publish",)
PROGRAM = Path(__file__).with_name("killed.py")


def command(point, model, data, output, isolation="none"):
    return [sys.executable, str(PROGRAM), point, *map(str, (model, data, output)), isolation]


def variables(**more):
    return {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2]), **more}


def run(*arguments):
    return subprocess.run(command(*arguments), env=variables(), capture_output=True, text=True, timeout=300)


def check_published(output):
    """What lies under a final name is whole; a writer that was killed leaves its hidden .part files for an hour."""
    found = output.iterdir() if output.is_dir() else ()
    files = sorted(path.name for path in found if not (path.name.startswith(".") and path.suffix == ".part"))
    if "model.onnx" in files:
        assert files == ["model.onnx", "plan.json"]
        onnx.checker.check_model(onnx.load(output / "model.onnx"))
    return files


def check_registered(name):
    """Every version has its model."""
    versions = registered(name)
    for version in versions:
        files = {each.path for each in client().list_logged_model_artifacts(version.source.removeprefix("models:/"))}
        assert {"MLmodel", "model.onnx"} <= files
    return versions


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_run_loses_nothing(workplace, trial, named, nightly, point):
    if point not in SAMPLE and not nightly:
        pytest.skip("with --nightly")
    word = named(point.replace(" ", "-"))
    model, data, output = mlp(workplace / f"{word}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    killed = run(point, model, data, output)
    assert killed.returncode == -9, killed.stderr[-2000:]
    left = check_published(output)
    check_registered(f"{word}-fp16")
    again = run("never", model, data, output)
    assert again.returncode == 0, again.stderr[-2000:]
    assert check_published(output) == ["model.onnx", "plan.json"]
    assert len(check_registered(f"{word}-fp16")) == 1
    assert "RUNNING" not in [each.info.status for each in runs_of(model)]
    trial(f"kill -9: {point}", 1, f"left {left or 'nothing'} under final names; the re-run registers one version")


@pytest.mark.parametrize("number", [1, 2], ids=["plan", "model"])
@pytest.mark.parametrize("arrives", [True, False], ids=["as it arrives", "as it is sent"])
def test_a_run_killed_while_it_uploads_loses_nothing(
    workplace, s3_proxy, bucket, trial, named, nightly, number, arrives
):
    if not nightly:
        pytest.skip("with --nightly")
    name = named("upload")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), f"s3://{bucket}/out/"
    begun = subprocess.Popen(command("never", model, data, output), env=variables(), stderr=subprocess.DEVNULL)
    left = [number]

    def kill_at(_number, method, path):
        left[0] -= method == "PUT" and "/out/" in path
        if left[0] == 0 and begun.poll() is None:
            begun.kill()
            begun.wait()
            return None if arrives else "drop"
        return None

    s3_proxy.fault = kill_at
    assert begun.wait(300) == -9
    # The lock of the killed run is taken over after its lease.
    keys = {name: body for name, body in contents(bucket).items() if not name.endswith(".lock")}
    assert "out/model.onnx" not in keys or set(keys) == {"out/model.onnx", "out/plan.json"}
    assert check_registered(f"{name}-fp16") == []
    again = run("never", model, data, output)
    assert again.returncode == 0, again.stderr[-2000:]
    whole = contents(bucket)
    assert set(whole) == {"out/model.onnx", "out/plan.json"}
    onnx.checker.check_model(onnx.load_from_string(whole["out/model.onnx"]))
    assert len(check_registered(f"{name}-fp16")) == 1
    assert "RUNNING" not in [each.info.status for each in runs_of(model)]
    trial(
        "kill -9 while an object is sent to S3",
        1,
        f"left {sorted(keys) or 'nothing'}; the re-run registers one version",
    )


def test_two_runs_in_one_folder_register_one_version(workplace, trial, named, nightly):
    if not nightly:
        pytest.skip("with --nightly")
    name = named("twice")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    never = command("never", model, data, output)
    both = [subprocess.Popen(never, env=variables(), stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [(each.communicate(timeout=300)[1][-2000:], each.returncode) for each in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert len(check_registered(f"{name}-fp16")) == 1
    assert check_published(output) == ["model.onnx", "plan.json"]
    assert [each.info.status for each in runs_of(model)] == ["FINISHED"]
    trial("two runs in one folder", 2, "one version, one run, one output")


def test_a_killed_run_takes_its_isolated_process_along(workplace, trial, named):
    model, data = mlp(workplace / f"{named('isolated')}.onnx"), batches(workplace / "data.npz")
    killed = run("end sanitize", model, data, workplace / "out", "process")
    assert killed.returncode == -9, killed.stderr[-2000:]
    import time

    deadline = time.monotonic() + 20
    while (left := children()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []
    trial("kill -9 with an isolated process", 1, "no process is left")


def children():
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if b"tasks.isolation.child" in words and parent == 1:
            found.append(path.parent.name)
    return found
