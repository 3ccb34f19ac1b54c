"""Servers for the trials: S3 and MLflow, each behind a proxy that can misbehave, and Prefect.

They are real ones where infra/local/packages has installed them: Ceph's S3 gateway, MLflow and Prefect on PostgreSQL.
Elsewhere moto, MLflow on sqlite and Prefect's embedded server stand for them, and the table says so.
"""

import os
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.local.embedded_server import free_port
from tasks.storage.objects.s3 import S3Options, connect
from tests.faults.proxy import serving
from tests.flows.services import embedded_services, services_at
from tests.settings import clean_environment

QUICK = S3Options(attempts=3, connect_timeout=2, read_timeout=5, part_bytes=1 << 16, workers=3, lease_seconds=1)


@dataclass(frozen=True)
class S3Server:
    """Its address, the variables with which it lets us in, and its name in the table."""

    url: str
    credentials: dict[str, str]
    name: str


@pytest.fixture(scope="session")
def s3_server(real_servers):
    if real_servers is not None:
        real_servers.up("ceph")
        yield S3Server(real_servers.variables["AWS_ENDPOINT_URL_S3"], real_servers.session_credentials(), "Ceph")
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    planted = {
        "AWS_ACCESS_KEY_ID": "AKIAPLANTEDKEY",
        "AWS_SECRET_ACCESS_KEY": "planted-secret-key",
        "AWS_SESSION_TOKEN": "planted-session-token",
    }
    yield S3Server(f"http://{host}:{port}", planted, "moto")
    server.stop()


@pytest.fixture
def s3_proxy(s3_server, monkeypatch, used):
    """The proxy in front of S3; the environment names it."""
    used.add(s3_server.name)
    with serving(s3_server.url) as proxy:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in s3_server.credentials.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield proxy


@pytest.fixture
def bucket(s3_proxy):
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    connect(QUICK).create_bucket(Bucket=name)
    s3_proxy.requests = 0
    return name


@pytest.fixture(scope="session")
def services(real_servers, tmp_path_factory):
    """Prefect and a tracking server as settings of this process; yields the tracking server's address."""
    folder = tmp_path_factory.mktemp("services")
    if real_servers is None:
        with embedded_services(folder) as uri:
            yield uri
        return
    real_servers.up("postgres", "ceph", "prefect", "mlflow")
    with services_at(real_servers.variables, folder) as uri:
        yield uri


@pytest.fixture
def workplace(services, real_servers, tmp_path, monkeypatch, used):
    """The current folder, empty but for what the test puts there; the flow keeps its files below it."""
    used.update({"MLflow", "Prefect"} if real_servers else {"sqlite", "Prefect/sqlite"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / ".autocast"))
    return tmp_path


@pytest.fixture
def named():
    """A word as a name that no other test uses: they share their servers."""
    mark = uuid.uuid4().hex[:6]
    return lambda word: f"{word}-{mark}"


@pytest.fixture(scope="session")
def mlflow_server(real_servers, tmp_path_factory):
    """A tracking server's address, and the folder in which its parts keep what they write."""
    if real_servers is not None:
        real_servers.up("postgres", "ceph", "mlflow")
        yield real_servers.variables["MLFLOW_TRACKING_URI"], real_servers.folder
        return
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [Path(sys.executable).parent / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri()]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**clean_environment(), **quiet},
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}", folder
    finally:
        os.killpg(process.pid, 15)
        process.wait()


@pytest.fixture
def mlflow_proxy(mlflow_server, real_servers, used):
    """The proxy in front of the tracking server."""
    used.discard("sqlite")
    used.add("MLflow" if real_servers else "MLflow/sqlite")
    with serving(mlflow_server[0]) as proxy:
        yield proxy


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
