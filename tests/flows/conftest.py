"""One Prefect server and one MLflow store for all flow tests of a worker, and a folder of its own for each test."""

import pytest

from tests.flows.services import embedded_services


@pytest.fixture(scope="session")
def services(tmp_path_factory):
    """The addresses of a running Prefect server and of a sqlite tracking store, as settings of this process."""
    with embedded_services(tmp_path_factory.mktemp("services")) as uri:
        yield uri


@pytest.fixture
def workplace(services, tmp_path, monkeypatch):
    """The current folder, empty but for what the test puts there; the flow keeps its files below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / ".autocast"))
    return tmp_path
