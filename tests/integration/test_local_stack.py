"""`autocast up`, `init --local`, `status` and `down`, as a newcomer uses them: nothing is installed for it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from flows.local_stack.processes import answers
from tests.flows.conversions import batches, mlp
from tests.infra.docs.pages import DOCS, SCRIPTS
from tests.settings import NAMES

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration of operations"), pytest.mark.timeout(900)]


@pytest.fixture
def autocast(tmp_path):
    """Runs a command as a user whose home is empty; the servers that it started are stopped in the end."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(NAMES)}
    environment |= {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CONFIG_HOME": str(tmp_path / "config")}

    def call(*words):
        done = subprocess.run(
            [str(SCRIPTS / "autocast"), *words, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, json.loads(done.stdout)

    yield call
    call("down")


def test_servers_come_up_convert_what_is_asked_and_what_is_registered_and_go_down(autocast, tmp_path):
    code, up = autocast("up")
    assert code == 0, up["error"]
    assert {each["name"]: each["state"] for each in up["servers"]} == dict.fromkeys(
        ("prefect", "mlflow", "bridge", "worker"), "ready"
    )
    assert autocast("status") == (0, up)
    addresses = {each["name"]: each["address"] for each in up["servers"]}
    assert not answers(f"{addresses['prefect']}/api/work_pools/autocast-cpu"), "Prefect lets everybody in"

    mlp(tmp_path / "model.onnx")
    batches(tmp_path / "data.npz")
    assert autocast("init", "--local", "--model", "model.onnx", "--calibration", "data.npz")[0] == 0
    code, converted = autocast("run", "model.onnx", "--spec", "spec.yaml")
    assert (code, converted["registered"]) == (0, "models:/model-fp16/1")
    assert autocast("review", "models:/model-fp16@candidate")[1]["run_id"] == converted["run_id"]

    folder = shutil.copytree(DOCS / "examples" / "registry-event", tmp_path / "registry-event")
    done = subprocess.run(
        [sys.executable, "register.py"],
        cwd=folder,
        env={**os.environ, "MLFLOW_TRACKING_URI": addresses["mlflow"]},
        capture_output=True,
        text=True,
    )
    assert "converted: models:/embedding-fp16/1, alias candidate" in done.stdout, done.stderr
    assert autocast("review", "models:/embedding-fp16@candidate")[1]["aliases"] == ["candidate"]

    assert set(autocast("down")[1]["stopped"]) == {"prefect", "mlflow", "bridge", "worker"}
    code, down = autocast("status")
    assert (code, {each["state"] for each in down["servers"]}) == (3, {"stopped"})
