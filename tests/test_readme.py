"""The README: its commands and code do what it says, and it stays one page."""

import os
import re
import shlex
import signal
import subprocess

import onnx
import pytest
import yaml

from flows.local.embedded_server import free_port
from tests.flows.conversions import batches, mlp
from tests.infra.docs.pages import README, SCRIPTS, blocks, commands, follow
from tests.infra.docs.reader import prepare_reader
from tests.settings import NAMES, NO_KEPT_SERVER
from tests.tasks.storage.conftest import s3_endpoint  # noqa: F401 - used as a fixture
from tests.waiting import answers

pytestmark = pytest.mark.xdist_group("commands")


@pytest.fixture(scope="module")
def folder(services, s3_endpoint, tmp_path_factory):  # noqa: F811
    """A folder with the files that the README speaks of, and an environment in which its commands run."""
    with prepare_reader(tmp_path_factory.mktemp("readme"), s3_endpoint) as place:
        yield place


@pytest.mark.timeout(900)
def test_the_commands_and_the_code_do_what_the_readme_promises(folder):
    follow(README, folder)
    for name in ("converted/model.onnx", "converted/plan.json", "model.fp16.onnx", "tuned.fp16.onnx"):
        assert (folder / name).is_file(), name
    weights = onnx.load(folder / "model.fp16.onnx").graph.initializer
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}


def test_a_newcomer_has_a_registered_conversion_of_their_own_model_after_five_commands_at_most(tmp_path):
    mlp(tmp_path / "model.onnx")
    batches(tmp_path / "data.npz")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(NAMES)} | NO_KEPT_SERVER
    (block,) = (block for block in blocks(README) if "pip install uv" in block.commands)
    assert block.commands[0] == "pip install uv"
    assert len(block.commands) <= 5
    printed = ""
    for command in block.commands[1:3]:
        words = shlex.split(command.removeprefix("uv run --no-dev "))
        done = subprocess.run(
            [str(SCRIPTS / words[0]), *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        printed += done.stdout
    assert "registered: models:/model-fp16/1" in printed


def test_the_readme_is_one_page():
    assert len(README.read_text(encoding="utf-8").split()) <= 1200


def test_the_readme_has_the_two_commands_of_a_newcomer():
    text = README.read_text(encoding="utf-8")
    assert re.search(r"^pip install uv && uv run --no-dev autocast demo$", text, re.MULTILINE)
    assert re.search(r"^uv run pytest$", text, re.MULTILINE)


def test_the_demo_shows_that_accuracy_is_kept_where_a_naive_conversion_loses_it(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "AUTOCAST_"))}
    words = [str(SCRIPTS / "autocast"), "demo", "--json"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    metrics = yaml.safe_load(done.stdout)["metrics"]
    assert metrics["task/top1_fp32"] > 0.95
    assert metrics["demo/naive_top1"] < 0.5
    assert metrics["task/top1_drop"] <= 0.01
    assert sorted(path.name for path in tmp_path.iterdir()) == [".autocast"]
    shown = (f"FP32 {metrics['task/top1_fp32']:.1%}", f"naive FP16 {metrics['demo/naive_top1']:.1%}")
    for part in (*shown, f"AutoCast Flow {metrics['task/top1']:.1%}"):
        assert part in README.read_text(encoding="utf-8"), "make the README's picture anew"


def test_the_tracking_ui_opens_what_was_recorded(folder):
    command = next(line for line in commands(README) if "mlflow ui" in line)
    words = shlex.split(command.removeprefix("uv run --no-dev "))
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
