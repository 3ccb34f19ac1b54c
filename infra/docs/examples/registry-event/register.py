"""Registers a version that asks for its conversion, as a training job would, and waits for what comes of it."""

import os
import time

import mlflow
from mlflow.exceptions import MlflowException

from flows.demo.embedding_model import make_model

NAME = "embedding"
WANTED = {
    "autocast.precision": "fp16",
    # Data of events come from S3: `"autocast.calibration": "s3://models/…"`. Without any they are random, where the
    # workers' AUTOCAST_TAG_OPTIONS allow it.
    "autocast.spec": '{"allow_random": true, "validation": "off"}',
}
PATIENCE_SECONDS = 300

if __name__ == "__main__":
    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    with mlflow.start_run():
        logged = mlflow.onnx.log_model(make_model(), name="model", pip_requirements=["onnxruntime"])
    version = mlflow.register_model(logged.model_uri, NAME, tags=WANTED)
    print(f"registered models:/{NAME}/{version.version}")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = mlflow.MlflowClient().get_model_version_by_alias(f"{NAME}-fp16", "candidate")
            break
        except MlflowException as error:
            if time.monotonic() > deadline:
                raise SystemExit(f"no candidate after {PATIENCE_SECONDS} s: see Prefect's runs") from error
            time.sleep(1)
    print(f"converted: models:/{found.name}/{found.version}, alias candidate")
