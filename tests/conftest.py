"""How the suite is run, its real servers, and the table of the faults and attacks that were tried."""

import logging
import os
import tempfile
import uuid
from pathlib import Path

import pytest

from autocast_core.process.log_setup import LOGGER
from tests.settings import NO_KEPT_SERVER

FOLDER = pytest.StashKey[Path]()
"""Where this session's real servers are, once a test has asked for them; the same for all of its processes."""

STANDS_FOR = {
    "Ceph": "its S3 gateway",
    "MLflow": "its server, on PostgreSQL and Ceph",
    "Prefect": "its server, on PostgreSQL",
    "moto": "stands for an S3 server",
    "MLflow/sqlite": "its server, on sqlite and files",
    "Prefect/sqlite": "its server, on sqlite",
    "sqlite": "stands for a tracking server",
    "stub": "answers as Prefect and MLflow would, after 20 ms",
}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What runs keep for later ones stays in this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOCAST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _log_as_before():
    """`configure_logging` adds handlers and sets the level, which would outlive a test."""
    yield
    if LOGGER.level != logging.NOTSET:
        for handler in LOGGER.handlers[:]:
            LOGGER.removeHandler(handler)
            handler.close()
        LOGGER.setLevel(logging.NOTSET)


def pytest_addoption(parser):
    parser.addoption("--nightly", action="store_true", help="faults, fuzzing and load at full size: hours, not minutes")


def pytest_configure(config):
    os.environ |= NO_KEPT_SERVER
    name = f"autocast-servers-{uuid.uuid4().hex[:8]}"
    given = getattr(config, "workerinput", {}).get("servers") or os.environ.get("AUTOCAST_TEST_SERVERS")
    # Not in pytest's own folder: nobody else may enter that, and PostgreSQL runs as a user of its own.
    config.stash[FOLDER] = Path(given or Path(tempfile.gettempdir()) / name).absolute()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """pytest-xdist's, for each of its processes."""
    node.workerinput["servers"] = str(node.config.stash[FOLDER])


def pytest_unconfigure(config):
    folder = config.stash[FOLDER]
    if hasattr(config, "workerinput") or "AUTOCAST_TEST_SERVERS" in os.environ or not folder.exists():
        return
    from tests.real_servers import RealServers

    RealServers(folder).remove()


@pytest.fixture(scope="session")
def real_servers(pytestconfig):
    """The session's real servers, of which each test starts those that it needs; None where they are not installed.

    With AUTOCAST_TEST_SERVERS=FOLDER they are those of `autocast up --storage servers FOLDER`, and are left running.
    """
    from flows.local_stack import stack
    from tests.real_servers import RealServers

    return None if stack.missing() else RealServers(pytestconfig.stash[FOLDER])


@pytest.fixture(scope="session")
def services(tmp_path_factory):
    """The addresses of a running Prefect server and of a sqlite tracking store, as settings of this process.

    One pair for a whole process: a second one would take over its settings from the first.
    """
    from tests.flows.services import embedded_services

    with embedded_services(tmp_path_factory.mktemp("services")) as uri:
        yield uri


@pytest.fixture
def workplace(services, tmp_path, monkeypatch):
    """The current folder, empty but for what the test puts there; the flow keeps its files below it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / ".autocast"))
    return tmp_path


@pytest.fixture
def nightly(request):
    """Whether trials are made at full size."""
    return request.config.getoption("--nightly")


@pytest.fixture
def used():
    """The servers that this test's fixtures gave it, by their names in STANDS_FOR."""
    return set()


@pytest.fixture
def trial(record_property, used):
    """Notes what was tried, how often, what came of it, and how much was lost, for the table at the end."""

    def note(what, times, outcome, lost=0):
        record_property("trial", [what, times, outcome, lost, ", ".join(sorted(used))])
        assert lost == 0, f"{what}: {lost} lost"

    return note


def pytest_terminal_summary(terminalreporter):
    """What was done, how often, on which servers, what came of it, what was lost."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, ())]
    rows = [value for report in reports for key, value in report.user_properties if key == "trial"]
    if not rows:
        return
    terminalreporter.section("tried")
    for what in sorted({row[0] for row in rows}):
        times, lost = (sum(row[i] for row in rows if row[0] == what) for i in (1, 3))
        outcome, on = next((" ".join(row[2].split()), row[4]) for row in rows if row[0] == what)
        terminalreporter.write_line(f"{what:<58.58} {times:>6} x  lost {lost}  {on:<15} {outcome:.110}")
    total, lost = (sum(row[i] for row in rows) for i in (1, 3))
    terminalreporter.write_line(f"{total} trials, {lost} lost")
    for name in sorted({name for row in rows for name in row[4].split(", ") if name}):
        terminalreporter.write_line(f"{name}: {STANDS_FOR[name]}")
    from flows.local_stack import stack

    if lacks := stack.missing():
        terminalreporter.write_line("not on real servers: " + "; ".join(lacks))
