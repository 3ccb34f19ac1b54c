"""Every command and every block of code in README.md, run in the order in which they stand there."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import onnx
import pytest
import yaml

from flows.local.embedded_server import free_port
from tests.flows.conftest import services  # noqa: F401 - used as a fixture
from tests.flows.conversions import batches, mlp
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture

pytestmark = pytest.mark.xdist_group("prefect")

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
SCRIPTS = Path(sys.executable).parent
NOT_HERE = ("uv run pytest", "uv run mlflow ui", "pip install uv && uv run --no-dev autocast demo")
"""The tests themselves; those two that need more than a folder have tests of their own below."""


@pytest.fixture(scope="module")
def folder(services, s3_endpoint, tmp_path_factory):  # noqa: F811
    """A folder with the files that the README speaks of, and an environment in which its commands run."""
    import boto3

    place = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("model.onnx", "next_checkpoint.onnx")):
        mlp(place / name, seed)
    batches(place / "data.npz")
    (place / "spec.yaml").write_text(next(block for language, block in BLOCKS if language == "yaml"))
    settings = {
        "AWS_ENDPOINT_URL_S3": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        store = boto3.client("s3")
        for bucket, name in (("models", "model.onnx"), ("data", "data.npz")):
            store.create_bucket(Bucket=bucket)
            store.upload_file(str(place / name), bucket, name)
        register(place / "model.onnx", "classifier-fp32")
        yield place


def register(model, name):
    """A version of `name` as other people make one."""
    import mlflow

    from tasks.tracking.store import connect, experiment_id

    uri = os.environ["MLFLOW_TRACKING_URI"]
    # Made by us, so that its artifacts lie beside the database and not in the current folder.
    mlflow.set_experiment(experiment_id=experiment_id(connect(uri), uri))
    with mlflow.start_run():
        mlflow.onnx.log_model(onnx.load(model), name="m", registered_model_name=name, pip_requirements=["onnxruntime"])


def run(command, folder, **environment):
    """`command` as its user types it, with the project's own environment in the place of uv's."""
    words = shlex.split(command.removeprefix("pip install uv && ").removeprefix("uv run "))
    program = [sys.executable] if words[0] == "python" else [str(SCRIPTS / words[0])]
    return subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.timeout(1500)
def test_the_commands_do_in_their_order_what_the_readme_promises(folder):
    for command in COMMANDS:
        if not command.startswith(NOT_HERE):
            done = run(command, folder)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    for name in ("converted/model.onnx", "converted/plan.json", "model.fp16.onnx", "next_checkpoint.fp16.onnx"):
        assert (folder / name).is_file(), name


def test_the_demo_shows_that_accuracy_is_kept_where_a_naive_conversion_loses_it(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "AUTOCAST_"))}
    words = [str(SCRIPTS / "autocast"), "demo", "--json"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    metrics = yaml.safe_load(done.stdout)["metrics"]
    assert metrics["task.top1_fp32"] > 0.95
    assert metrics["demo.naive_top1"] < 0.5
    assert metrics["task.top1_drop"] <= 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == [".autocast"]


def test_the_tracking_ui_opens_what_was_recorded(folder):
    command = next(line for line in COMMANDS if line.startswith("uv run mlflow ui"))
    words = shlex.split(command.removeprefix("uv run "))
    words[-1] = os.environ["MLFLOW_TRACKING_URI"]
    log, port = folder / "ui.log", free_port()
    with log.open("wb") as stream:
        ui = subprocess.Popen(
            [str(SCRIPTS / words[0]), *words[1:], "--port", str(port)],
            stdout=stream,
            stderr=stream,
            cwd=folder,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            start_new_session=True,
        )
        try:
            assert answers(f"http://127.0.0.1:{port}/health"), log.read_text()
        finally:
            # It has children that outlive it.
            os.killpg(ui.pid, signal.SIGKILL)
            ui.wait()


def answers(address):
    for _ in range(300):
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return response.status == 200
        except OSError:
            time.sleep(0.2)
    return False


def test_the_python_code_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    names = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(block, names)
    assert isinstance(names["model"], onnx.ModelProto)
    assert {tensor.data_type for tensor in names["model"].graph.initializer} == {onnx.TensorProto.FLOAT16}
