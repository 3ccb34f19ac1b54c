"""`autocast up`, `init --local`, `status` and `down`, as a newcomer uses them: nothing is installed for it."""

import json
import os
import subprocess
import time

import pytest

from tests.flows.conversions import batches, mlp
from tests.infra.docs.pages import SCRIPTS
from tests.settings import NAMES

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("integration"), pytest.mark.timeout(600)]


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


def candidate(uri, name, within=150.0):
    """The version of the model with the alias candidate, once there is one."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    deadline = time.monotonic() + within
    while True:
        try:
            return MlflowClient(uri).get_model_version_by_alias(name, "candidate")
        except MlflowException:
            assert time.monotonic() < deadline, f"no candidate of {name} within {within:.0f} s"
            time.sleep(1)


def test_servers_come_up_convert_what_is_asked_and_what_is_registered_and_go_down(autocast, tmp_path):
    code, up = autocast("up")
    assert code == 0, up["error"]
    assert {each["name"]: each["state"] for each in up["servers"]} == dict.fromkeys(
        ("prefect", "mlflow", "bridge", "worker"), "ready"
    )
    assert autocast("status") == (0, up)

    mlp(tmp_path / "model.onnx")
    batches(tmp_path / "data.npz")
    assert autocast("init", "--local", "--model", "model.onnx", "--calibration", "data.npz")[0] == 0
    code, converted = autocast("run", "model.onnx", "--spec", "spec.yaml")
    assert (code, converted["registered"]) == (0, "models:/model-fp16/1")
    uri = next(each["address"] for each in up["servers"] if each["name"] == "mlflow")
    assert candidate(uri, "model-fp16").run_id == converted["run_id"]

    registered_with_tags(tmp_path / "model.onnx", uri)
    assert candidate(uri, "net-fp16").version == "1"

    assert set(autocast("down")[1]["stopped"]) == {"prefect", "mlflow", "bridge", "worker"}
    code, down = autocast("status")
    assert (code, {each["state"] for each in down["servers"]}) == (3, {"stopped"})


def registered_with_tags(model, uri):
    """A version that asks for its conversion."""
    import mlflow
    import onnx

    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run():
            logged = mlflow.onnx.log_model(onnx.load(model), name="m", pip_requirements=["onnxruntime"])
        spec = {"allow_random": True, "validation": "off"}
        tags = {"autocast.precision": "fp16", "autocast.spec": json.dumps(spec)}
        mlflow.register_model(logged.model_uri, "net", tags=tags)
    finally:
        mlflow.set_tracking_uri(None)
