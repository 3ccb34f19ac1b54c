"""The process around a flow: where files lie, where logs go, what stdout holds."""

import logging
import os
import subprocess
import sys
import time
import warnings

import pytest

from flows.local.environment import logs_in, set_defaults
from flows.local.home import Home, home


@pytest.fixture
def bare(monkeypatch):
    """An environment without any of the project's settings, restored afterwards."""
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "MLFLOW_", "AUTOCAST_")):
            monkeypatch.delenv(name)
    saved = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(saved)


def test_everything_lies_below_one_folder(bare, tmp_path):
    set_defaults(Home(tmp_path))
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "prefect")
    assert os.environ["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_prefect_server_of_the_users_own_keeps_its_home(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    set_defaults(Home(tmp_path))
    assert "PREFECT_HOME" not in os.environ
    assert not any(tmp_path.iterdir())


def test_what_the_user_set_stays(bare, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "7")
    set_defaults(Home(tmp_path))
    assert os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "7"


def test_the_home_folder_can_be_chosen(bare, monkeypatch, tmp_path):
    assert str(home().root) == ".autocast"
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path))
    assert home().logs == tmp_path / "logs"


def test_messages_go_to_the_file_and_afterwards_to_the_terminal_again(tmp_path, capsys):
    noisy = logging.getLogger("noisy.package")
    noisy.propagate = False
    noisy.addHandler(logging.StreamHandler(sys.stderr))
    with logs_in(tmp_path / "log" / "x.log"):
        noisy.warning("inside")
        warnings.warn("a warning", UserWarning, stacklevel=1)
    noisy.warning("outside")
    text = (tmp_path / "log" / "x.log").read_text()
    assert text.count("inside") == 1 and "a warning" in text and "outside" not in text
    assert capsys.readouterr().err == "outside\n"


def test_stdout_holds_only_json_even_if_a_library_prints():
    program = (
        "import os\nfrom flows.local.environment import only_json_on_stdout\n"
        "with only_json_on_stdout():\n    print('python')\n    os.write(1, b'below python\\n')\nprint('{}')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "{}\n"
    assert "python" in done.stderr and "below python" in done.stderr


def test_the_embedded_server_ends_with_its_parent_whatever_that_dies_of(tmp_path):
    program = (
        "import os, signal\nfrom pathlib import Path\nfrom flows.local.embedded_server import embedded_server\n"
        f"with embedded_server(Path({str(tmp_path / 'log')!r})) as server:\n"
        "    print(server.process.pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    pid = int(done.stdout)
    assert done.returncode == -9
    assert gone(pid)


def gone(pid):
    """Whether the process ends within a minute; a zombie has ended."""
    for _ in range(600):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_server_that_cannot_start_names_its_log(tmp_path, monkeypatch):
    from autocast_core.errors import ServiceError
    from flows.local.embedded_server import embedded_server

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_DATABASE_CONNECTION_URL", "nonsense://")
    with (
        embedded_server(tmp_path / "server.log") as server,
        pytest.raises(ServiceError, match=r"ended during its start; .*server\.log"),
    ):
        server.wait()


def test_credentials_in_mlflows_address_move_to_their_own_variables(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {"MLFLOW_TRACKING_URI": "https://me:p%40ss@mlflow:5000/base", "HOME": "/"})
    set_defaults(Home(tmp_path))
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow:5000/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "p@ss")
