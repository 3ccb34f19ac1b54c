"""Artifacts that cannot be downloaded: MLflow's errors keep what they came of."""

import errno
from types import SimpleNamespace

import pytest

from autocast_core.errors import OutputError
from tasks.tracking.artifacts import run_file


@pytest.fixture
def client():
    run = SimpleNamespace(info=SimpleNamespace(artifact_uri="file:///nowhere"))
    return SimpleNamespace(get_run=lambda _: run, tracking_uri="sqlite://")


def failing(monkeypatch, message):
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    cause = OSError(errno.ENOSPC, "No space left on device")

    def download(**_):
        raise MlflowException(message) from cause

    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", download)
    return cause


def test_an_error_of_mlflow_is_raised_with_its_own_cause(client, monkeypatch, tmp_path):
    from mlflow.exceptions import MlflowException

    cause = failing(monkeypatch, "plan.json could not be downloaded")
    with pytest.raises(MlflowException, match="could not be downloaded") as caught:
        run_file(client, "a run", "plan.json", tmp_path)
    assert caught.value.__cause__ is cause


def test_a_full_disk_that_mlflow_names_in_its_message_is_told(client, monkeypatch, tmp_path):
    failing(monkeypatch, "plan.json: [Errno 28] No space left on device")
    with pytest.raises(OutputError, match="the disk is full"):
        run_file(client, "a run", "plan.json", tmp_path)
