"""Servers for the trials: S3 (moto) and MLflow, each behind a proxy that can misbehave, and Prefect."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from flows.embedded_server import free_port
from tasks.storage.s3 import S3Options, connect
from tests.faults.proxy import serving
from tests.flows.conftest import services, workplace  # noqa: F401 - used as fixtures

QUICK = S3Options(attempts=3, connect_timeout=2, read_timeout=5, part_bytes=1 << 16, workers=3)


@pytest.fixture(scope="session")
def s3_server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_proxy(s3_server, monkeypatch):
    """The proxy in front of S3; the environment names it."""
    with serving(s3_server) as proxy:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAPLANTEDKEY")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-key")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield proxy


@pytest.fixture
def bucket(s3_proxy):
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    connect(QUICK).create_bucket(Bucket=name)
    s3_proxy.requests = 0
    return name


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory):
    """A real tracking server with its own database and artifacts; its address."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [Path(sys.executable).parent / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "PREFECT_", "AWS_"))}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**clean, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait(url, process):
    import time
    import urllib.request

    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{url} does not answer")
