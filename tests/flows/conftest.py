"""One Prefect server and one MLflow store for all flow tests of a worker, and a folder of its own for each test."""

import os

import pytest

from flows.embedded_server import embedded_server
from flows.environment import set_defaults
from flows.home import Home


@pytest.fixture(scope="session")
def services(tmp_path_factory):
    """The addresses of a running Prefect server and of a sqlite tracking store, as settings of this process."""
    folder = tmp_path_factory.mktemp("services")
    saved = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "AUTOCAST_"))]:
        del os.environ[name]
    set_defaults(Home(folder / "home"))
    try:
        with embedded_server(folder / "server.log") as server:
            from prefect.settings import PREFECT_API_URL, PREFECT_LOCAL_STORAGE_PATH, temporary_settings

            server.wait()
            uri = f"sqlite:///{folder / 'mlflow.db'}"
            os.environ |= {"PREFECT_API_URL": server.api_url, "MLFLOW_TRACKING_URI": uri}
            storage = folder / "results"
            with temporary_settings({PREFECT_API_URL: server.api_url, PREFECT_LOCAL_STORAGE_PATH: storage}):
                yield uri
    finally:
        os.environ.clear()
        os.environ.update(saved)


@pytest.fixture
def workplace(services, tmp_path, monkeypatch):
    """The current folder, empty but for what the test puts there; the flow keeps its files below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / ".autocast"))
    return tmp_path
