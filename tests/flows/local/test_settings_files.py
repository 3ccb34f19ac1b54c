"""Settings files in the current folder, which may be anyone's, are not read by the commands."""

import os
import subprocess
import sys

import pytest

from tests.flows.conversions import mlp

LOGGING = """version: 1
disable_existing_loggers: false
handlers:
  evil: {"()": os.mkdir, path: PLANTED}
root: {handlers: [evil]}
"""
PLANTS = {
    "a logging configuration in the home folder": {".autocast/prefect/logging.yml": LOGGING},
    "profiles in the home folder": {
        ".autocast/prefect/profiles.toml": 'active = "p"\n[profiles.p]\nPREFECT_LOGGING_CONFIG_PATH = "FOLDER/l.yml"\n',
        "l.yml": LOGGING,
    },
    ".env": {".env": "PREFECT_LOGGING_CONFIG_PATH=FOLDER/l.yml\n", "l.yml": LOGGING},
    ".env that names profiles": {
        ".env": "PREFECT_PROFILES_PATH=FOLDER/p.toml\n",
        "p.toml": 'active = "p"\n[profiles.p]\nPREFECT_LOGGING_CONFIG_PATH = "FOLDER/l.yml"\n',
        "l.yml": LOGGING,
    },
    "prefect.toml": {"prefect.toml": '[logging]\nconfig_path = "FOLDER/l.yml"\n', "l.yml": LOGGING},
    "pyproject.toml": {"pyproject.toml": '[tool.prefect.logging]\nconfig_path = "FOLDER/l.yml"\n', "l.yml": LOGGING},
}
SETTINGS = """
from flows.local.home import home
from flows.local.environment import set_defaults
from tasks.prefect_settings import ignore_settings_files
ignore_settings_files()
set_defaults(home())
from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS, temporary_settings, PREFECT_API_KEY
import prefect.logging.configuration
prefect.logging.configuration.setup_logging()
print(PREFECT_LOGGING_EXTRA_LOGGERS.value())
with temporary_settings({PREFECT_API_KEY: "k"}):
    print(PREFECT_LOGGING_EXTRA_LOGGERS.value())
"""


def environment():
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AUTOCAST_", "MLFLOW_"))
    }


def planted(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("FOLDER", str(folder)).replace("PLANTED", str(folder / "PLANTED")))


@pytest.mark.parametrize("files", PLANTS.values(), ids=PLANTS)
def test_no_settings_file_in_the_current_folder_runs_code(tmp_path, files):
    planted(tmp_path, files)
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "PLANTED").exists()


@pytest.mark.parametrize(
    "files",
    [
        {".env": "PREFECT_LOGGING_EXTRA_LOGGERS=evil\n"},
        {"prefect.toml": '[logging]\nextra_loggers = "evil"\n'},
        {"pyproject.toml": '[tool.prefect.logging]\nextra_loggers = "evil"\n'},
    ],
    ids=[".env", "prefect.toml", "pyproject.toml"],
)
def test_no_setting_is_taken_from_a_file_in_the_current_folder(tmp_path, files):
    planted(tmp_path, files)
    done = subprocess.run(
        [sys.executable, "-c", SETTINGS], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.stdout == "[]\n[]\n", done.stderr
    assert done.stderr == ""


def test_a_run_in_a_folder_full_of_settings_files_executes_none_of_them(tmp_path):
    """In the command's own process, in the embedded server's and in the isolated one."""
    for files in PLANTS.values():
        planted(tmp_path, files)
    mlp(tmp_path / "m.onnx")
    (tmp_path / "spec.yaml").write_text("{allow_random: true, validation: off}\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import flows.cli; flows.cli.main()",
            "run",
            "m.onnx",
            "--spec",
            "spec.yaml",
            "--dry-run",
        ],
        cwd=tmp_path,
        env={**environment(), "AUTOCAST_ISOLATION": "process"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "PLANTED").exists()


DASK = """
from distributed import Client, LocalCluster

def read():
    from prefect.settings import PREFECT_LOGGING_EXTRA_LOGGERS
    return PREFECT_LOGGING_EXTRA_LOGGERS.value()

if __name__ == "__main__":
    workers = {"n_workers": 1, "threads_per_worker": 1, "preload": ["tasks.dask_preload"]}
    with LocalCluster(dashboard_address=None, **workers) as cluster:
        with Client(cluster) as client:
            print(client.submit(read).result())
"""


def test_processes_that_dask_starts_read_no_settings_of_the_current_folder(tmp_path):
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    planted(tmp_path, {".env": "PREFECT_LOGGING_EXTRA_LOGGERS=evil\n", "cluster.py": DASK})
    command = [sys.executable, "cluster.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
