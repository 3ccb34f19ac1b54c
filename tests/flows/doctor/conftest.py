"""A machine on which all is well, for tests to plant one mistake in; servers that answer as Prefect and MLflow."""

import json
import os
import socket
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest

from tests.flows.cli.conftest import autocast
from tests.settings import forgotten_settings
from tests.tasks.storage.conftest import bucket, client, no_aws, s3_endpoint

__all__ = ["autocast", "bucket", "client", "no_aws", "s3_endpoint"]

PASSWORD = "planted-password"
PREFECT = {"/api/admin/version": (200, version("prefect")), "/": (200, "<html>Prefect</html>")}
MLFLOW = {
    "/version": (200, version("mlflow").encode()),
    "/api/2.0/mlflow/experiments/search": (200, {"experiments": []}),
    "/api/2.0/mlflow/experiments/get-by-name": (
        200,
        {"experiment": {"experiment_id": "1", "artifact_location": "mlflow-artifacts:/1"}},
    ),
    "/api/2.0/mlflow-artifacts/artifacts": (200, {"files": []}),
}


class Stub:
    """A server that answers paths as `answers` say, and 404 elsewhere; with `password` only to user:password."""

    def __init__(self, answers, password=None):
        wanted = None if password is None else "Basic " + b64encode(f"user:{password}".encode()).decode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, content = answers.get(self.path.partition("?")[0], (404, {"error": "no such path"}))
                if wanted is not None and self.headers.get("Authorization") != wanted:
                    status, content = 401, {"error": "who are you?"}
                body = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - what BaseHTTPRequestHandler calls

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def stub():
    """Starts stubs, which end with the test, and gives their addresses."""
    started = []

    def start(answers, password=None):
        started.append(Stub(answers, password))
        return started[-1].url

    yield start
    for each in started:
        each.close()


@pytest.fixture
def closed_port():
    """The address of a port on which nobody listens, and nobody can meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty folder as the current one, with homes of its own, and no settings."""
    with forgotten_settings():
        monkeypatch.chdir(tmp_path)
        os.environ |= {"AUTOCAST_HOME": str(tmp_path / "home"), "AUTOCAST_CACHE": str(tmp_path / "cache")}
        yield tmp_path
