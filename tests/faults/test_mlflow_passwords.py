"""MLflow's own user names and passwords, as infra/docs/security.md says to set them up."""

import os
import secrets

import pytest

from autocast_core.errors import InputError
from flows.local.embedded_server import free_port
from flows.local_stack import stack
from tests.flows.conversions import convert, mlp, registered, runs_of

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-servers"), pytest.mark.timeout(500)]
NAME, USER, PASSWORD = "guarded-mlflow", "admin", secrets.token_hex(12)


@pytest.fixture(scope="module")
def address(real_servers):
    """Of an MLflow server that asks for a user and password."""
    if real_servers is None:
        pytest.skip("MLflow's server is tried on PostgreSQL: " + "; ".join(stack.missing()))
    pytest.importorskip("flask_wtf", reason="MLflow's passwords need mlflow[auth]")
    real_servers.up("postgres", "ceph", "mlflow")
    port = free_port()
    private = {"MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(16), "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD}
    options = ("--app-name", "basic-auth")
    real_servers.start(stack.mlflow_server(real_servers.folder, NAME, port, *options, **private))
    yield f"http://127.0.0.1:{port}"
    real_servers.stop(NAME)


def test_a_user_with_a_password_converts_and_nobody_else(request, workplace, trial, named, nightly, monkeypatch):
    if not nightly:
        pytest.skip("a further MLflow server: with --nightly")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue("address"))
    name = named("guarded")
    model = mlp(workplace / f"{name}.onnx")
    for user, password in ((USER, "wrong-planted"), ("nobody", PASSWORD), (None, None)):
        with monkeypatch.context() as patch:
            if user:
                patch.setenv("MLFLOW_TRACKING_USERNAME", user)
                patch.setenv("MLFLOW_TRACKING_PASSWORD", password)
            with pytest.raises(InputError) as caught:
                convert(model, allow_random=True, validation="off")
        said = str(caught.value)
        assert os.environ["MLFLOW_TRACKING_URI"] in said and "\n" not in said
        assert "wrong-planted" not in said and PASSWORD not in said
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    convert(model, allow_random=True, validation="off")
    assert len(registered(f"{name}-fp16")) == 1
    assert [each.info.status for each in runs_of(model)] == ["FINISHED"]
    trial("credentials: MLflow's own users and passwords", 3, said)
