"""The process around a flow: where files lie, where logs go, what stdout holds."""

import logging
import os
import subprocess
import sys
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


def test_credentials_in_mlflows_address_move_to_their_own_variables(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {"MLFLOW_TRACKING_URI": "https://me:p%40ss@mlflow:5000/base", "HOME": "/"})
    set_defaults(Home(tmp_path))
    assert os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow:5000/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("me", "p@ss")
