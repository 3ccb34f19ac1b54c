"""Prefect's server is started by the command that needs it, found by the next ones, and ends by itself."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.process.file_lock import try_lock
from flows.local.embedded_server import (
    ALIVE,
    DEFAULT_IDLE_SECONDS,
    IDLE_SECONDS,
    embedded_server,
    idle_seconds_of,
    stop_servers,
)

pytestmark = pytest.mark.xdist_group("embedded server")
MINUTE = 60.0


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """Prefect's folder for all tests: only the first server has to make its database."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture
def folder(tmp_path, database, monkeypatch):
    """Where servers are kept; those that a test leaves are ended."""
    monkeypatch.setenv("PREFECT_HOME", str(database))
    yield tmp_path / "server"
    stop_servers(tmp_path / "server")


def gone(server_folder):
    """Whether the server ends within a minute: its lock is then free."""
    for _ in range(600):
        with open(server_folder / ALIVE, "rb") as alive:
            if try_lock(alive):
                return True
        time.sleep(0.1)
    return False


def status(server, password):
    """The HTTP status with which the server answers to who knows this password."""
    request = urllib.request.Request(f"{server.api_url}/admin/version")
    request.add_header("Authorization", "Basic " + b64encode(password.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=MINUTE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_the_next_command_finds_the_server_and_only_who_can_read_its_note_may_use_it(folder):
    with embedded_server(folder, MINUTE) as first:
        first.wait()
    with embedded_server(folder, MINUTE) as second:
        assert second == first
        assert status(second, second.password) == 200
        assert status(second, "autocast:guess") == 401
    assert oct((first.folder / "server.json").stat().st_mode & 0o777) == "0o600"
    assert stop_servers(folder) == 1 and gone(first.folder)
    assert stop_servers(folder) == 0


def test_without_idle_time_the_last_command_takes_the_server_along(folder):
    with embedded_server(folder, 0) as first, embedded_server(folder, 0) as second:
        assert second == first
        first.wait()
    assert gone(first.folder)
    assert not (first.folder / "server.json").exists()


def test_a_server_that_nobody_uses_ends_by_itself(folder):
    with embedded_server(folder, 0.1) as server:
        server.wait()
        time.sleep(1.5)
        assert status(server, server.password) == 200
    assert gone(server.folder)
    assert not (server.folder / "server.json").exists()


def test_a_server_ends_although_its_last_user_was_killed(folder):
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom flows.local.embedded_server import embedded_server\n"
        f"with embedded_server(Path({str(folder)!r}), 0) as server:\n"
        "    print(server.folder, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert gone(Path(done.stdout.strip()))


def test_a_server_that_died_is_replaced(folder):
    with embedded_server(folder, MINUTE) as first:
        first.wait()
    os.kill(first.process, signal.SIGKILL)
    assert gone(first.folder)
    with embedded_server(folder, 0) as second:
        assert second.process != first.process
        second.wait()


def test_a_note_without_a_living_server_is_not_believed(folder):
    with embedded_server(folder, 0) as server:
        note = json.loads((server.folder / "server.json").read_text())
    (server.folder / "server.json").write_text(json.dumps({**note, "port": 1, "process": os.getpid()}))
    assert stop_servers(folder) == 0
    with embedded_server(folder, 0) as other:
        assert other.port != 1 and other.process != os.getpid()


def test_other_settings_of_prefect_are_another_server(folder, monkeypatch):
    with embedded_server(folder, 0) as one:
        monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
        with embedded_server(folder, 0) as other:
            assert other.process != one.process and other.folder != one.folder


def test_the_server_gets_no_credentials_of_other_services(folder, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hidden")
    with embedded_server(folder, 0) as server:
        assert b"hidden" not in Path(f"/proc/{server.process}/environ").read_bytes()


def test_a_server_that_cannot_start_names_its_log(folder, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "nonsense://")
    with (
        embedded_server(folder, 0) as server,
        pytest.raises(ServiceError, match=r"ended during its start; .*server\.log"),
    ):
        server.wait()


@pytest.mark.parametrize(("text", "seconds"), [("", DEFAULT_IDLE_SECONDS), ("0", 0.0), ("12.5", 12.5)])
def test_idle_time_is_a_number_of_seconds(text, seconds):
    assert idle_seconds_of({IDLE_SECONDS: text}) == seconds


@pytest.mark.parametrize("text", ["-1", "soon", "inf", "nan"])
def test_another_idle_time_is_refused(text):
    with pytest.raises(ConfigError, match=f"{IDLE_SECONDS}={text}: give a number of seconds"):
        idle_seconds_of({IDLE_SECONDS: text})
