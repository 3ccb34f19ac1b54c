"""What a reader of the documentation has: a folder with models and data, an S3 server, and a registered model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest

from tests.flows.conversions import batches, mlp


@contextmanager
def prepare_reader(place: Path, s3_endpoint: str) -> Iterator[Path]:
    """`place` with the files that the pages speak of, and the settings of its servers in this process's environment."""
    import boto3

    for seed, name in enumerate(("model.onnx", "next_checkpoint.onnx")):
        mlp(place / name, seed)
    batches(place / "data.npz")
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


def register(model: Path, name: str) -> None:
    """A version of `name` as other people make one."""
    import mlflow

    from tasks.tracking.store import connect, experiment_id

    uri = os.environ["MLFLOW_TRACKING_URI"]
    # Made by us, so that its artifacts lie beside the database and not in the current folder.
    mlflow.set_experiment(experiment_id=experiment_id(connect(uri), uri))
    with mlflow.start_run():
        mlflow.onnx.log_model(onnx.load(model), name="m", registered_model_name=name, pip_requirements=["onnxruntime"])
