"""A tracking server that is gone before, during or after a run; full disks, folders that cannot be written."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from autocast_core.errors import AutocastError, OutputError, ServiceError
from tests.flows.conversions import batches, client, convert, mlp, registered, runs_of

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-servers"), pytest.mark.timeout(500)]


@pytest.fixture
def tracked(workplace, mlflow_proxy, monkeypatch):
    """The flow tracks through a proxy that can be shut; short waits."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_proxy.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    return mlflow_proxy


@contextmanager
def gone_at(proxy, stage, monkeypatch):
    """From the beginning of the flow's `stage` on no request reaches the tracking server."""
    import flows.conversion.tracked_run as begun
    import flows.convert_model as flow
    from tasks.stages.track import begin_task

    original = flow.stage

    @contextmanager
    def shutting(name, timings=None):
        if name == stage:
            proxy.fault = lambda number, method, path: "drop"
        with original(name, timings):
            yield

    with monkeypatch.context() as patch:
        for module in (begun, flow):
            patch.setattr(module, "stage", shutting)
        for task in (begin_task, flow.track_task, flow.log_model_task, flow.register_task):
            patch.setattr(task, "retries", 0)
        yield
    proxy.fault = lambda number, method, path: None


@pytest.mark.parametrize("stage", ["track", "evaluate", "publish"], ids=["before", "during", "after"])
def test_without_its_tracking_server_a_run_fails_before_it_publishes(
    tracked, workplace, trial, named, monkeypatch, nightly, stage
):
    if stage != "evaluate" and not nightly:
        pytest.skip("with --nightly")
    name = named(f"gone-{stage}")
    model, data, output = mlp(workplace / f"{name}.onnx"), batches(workplace / "data.npz"), workplace / "out"
    given = {"calibration": data, "output": output, "validation": "off"}
    with gone_at(tracked, stage, monkeypatch), pytest.raises(ServiceError) as caught:
        convert(model, **given)
    assert "\n" not in str(caught.value)
    assert not (output / "model.onnx").exists()
    convert(model, **given)
    assert sorted(path.name for path in output.iterdir()) == ["model.onnx", "plan.json"]
    assert len(registered(f"{name}-fp16")) == 1
    statuses = sorted(each.info.status for each in runs_of(model))
    assert "RUNNING" not in statuses
    assert statuses.count("FINISHED") == 1
    trial(f"tracking server gone: {stage}", 1, f"nothing published; then one version; runs {', '.join(statuses)}")


@contextmanager
def mounted(folder, options):
    """A file system in memory at the folder, made here; the test is skipped where this process may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here; RLIMIT_FSIZE and /proc stand for it in other tests")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    with mounted(tmp_path / "small", "size=96k") as folder:
        yield folder


@pytest.fixture
def read_only(tmp_path):
    """A file system that no user can write, root included."""
    with mounted(tmp_path / "read-only", "size=96k,ro") as folder:
        yield folder


def _large(path):
    """A model of 256 KiB."""
    import numpy as np
    import onnx
    import onnx.parser

    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 17]> g (float[N, 256] x) => (float[N, 256] y) { y = MatMul(x, w) }'
    )
    weights = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(model, path)
    return path


def test_a_full_disk_is_told_and_leaves_nothing(small_disk, workplace, trial, named):
    name = named("large")
    model, output = _large(workplace / f"{name}.onnx"), small_disk / "out"
    with pytest.raises(OutputError) as caught:
        convert(model, output=output, allow_random=True, validation="off")
    assert not any(path.is_file() for path in small_disk.rglob("*"))
    assert registered(f"{name}-fp16") == []
    convert(model, output=workplace / "out", allow_random=True, validation="off")
    assert len(registered(f"{name}-fp16")) == 1
    trial("full disk at the destination", 1, str(caught.value).replace(str(small_disk), ""))


def test_a_full_disk_under_the_home_folder_is_told_and_nothing_is_published(
    small_disk, workplace, trial, named, monkeypatch, nightly
):
    if not nightly:
        pytest.skip("with --nightly")
    name = named("home")
    model, output = _large(workplace / f"{name}.onnx"), workplace / "out"
    given = {"output": output, "allow_random": True, "validation": "off"}
    with monkeypatch.context() as patch, pytest.raises(OutputError) as caught:
        patch.setenv("AUTOCAST_HOME", str(small_disk))
        convert(model, **given)
    assert not output.exists() or not list(output.iterdir())
    assert registered(f"{name}-fp16") == []
    assert [each.info.status for each in runs_of(model)] == ["FAILED"]
    convert(model, **given)
    assert len(registered(f"{name}-fp16")) == 1
    trial("full disk under the home folder", 1, str(caught.value).replace(str(small_disk), ""))


def test_a_read_only_destination_is_told_before_any_work(read_only, workplace, trial, named):
    name = named("ro")
    model = mlp(workplace / f"{name}.onnx")
    for output in (read_only / "out", read_only / "model.onnx", read_only):
        with pytest.raises(OutputError) as caught:
            convert(model, output=output, allow_random=True, validation="off")
        assert "\n" not in str(caught.value)
    assert registered(f"{name}-fp16") == []
    assert {each.info.status for each in runs_of(model)} == {"FAILED"}
    trial("read-only destination", 3, str(caught.value).replace(str(read_only), ""))


def test_a_read_only_home_is_told(read_only, workplace, trial, named, monkeypatch):
    model = mlp(workplace / f"{named('ro-home')}.onnx")
    monkeypatch.setenv("AUTOCAST_HOME", str(read_only))
    with pytest.raises(OutputError) as caught:
        convert(model, allow_random=True, validation="off")
    assert "\n" not in str(caught.value)
    assert runs_of(model) == []
    trial("read-only home folder", 1, str(caught.value).replace(str(read_only), ""))


def test_a_file_that_may_not_grow_is_told_and_leaves_nothing(workplace, trial):
    """RLIMIT_FSIZE cuts the writing of the model short, as a disk does that fills up meanwhile."""
    from autocast_core.config import ConversionConfig
    from autocast_core.pipeline.saved import JobRequest
    from tasks.isolation import ProcessLimits, StageBugError, isolated, isolation
    from tasks.stages.conversion import ISOLATED
    from tasks.storage.models import fetch_model
    from tests.faults.stages import write_model

    model = _large(workplace / "large.onnx")
    with isolation(ProcessLimits(2 << 30, 120.0, 32 << 10)), pytest.raises(AutocastError) as caught:
        source = fetch_model(str(model)).ref
        request = JobRequest(source, ConversionConfig(), workplace / "work")
        sanitized = ISOLATED["sanitize"]("sanitize", request, (source,))
        isolated(write_model, None)(sanitized.model, workplace / "out.onnx")
    assert not isinstance(caught.value, StageBugError), caught.value
    assert not (workplace / "out.onnx").exists()
    assert not list(workplace.glob("*.partial")) and not list(workplace.glob(".out*"))
    trial("file that may not grow", 1, str(caught.value).replace(str(workplace), ""))


@pytest.mark.parametrize("place", ["/proc/out", "/sys/out", "/dev/null/out"])
def test_a_destination_that_cannot_be_written_is_told_before_any_work(workplace, trial, named, nightly, place):
    if place != "/proc/out" and not nightly:
        pytest.skip("with --nightly")
    name = named("m")
    model = mlp(workplace / f"{name}.onnx")
    with pytest.raises(OutputError) as caught:
        convert(model, output=place, allow_random=True, validation="off")
    assert registered(f"{name}-fp16") == []
    assert runs_of(model)[0].info.status == "FAILED"
    trial("destination that cannot be written", 1, str(caught.value))


def test_a_home_that_cannot_be_written_is_told(workplace, trial, monkeypatch):
    from flows.local.session import flow_session
    from tasks.progress import SilentListener

    monkeypatch.setenv("AUTOCAST_HOME", "/proc/home")
    with pytest.raises(OutputError, match="AUTOCAST_HOME") as caught, flow_session(SilentListener()):
        pass
    assert os.environ["AUTOCAST_HOME"] == "/proc/home"
    assert client() and Path("/proc").is_dir()
    trial("home folder that cannot be written", 1, str(caught.value))
