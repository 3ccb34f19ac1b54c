"""The servers without containers, as far as that can be seen without starting any; tests/integration starts them."""

import json
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from autocast_core.errors import ConfigError, ServiceError
from flows.local_stack import processes, stack
from flows.local_stack.deployment_files import deployment_file
from flows.local_stack.stack_settings import (
    StackStorage,
    environment,
    known_settings,
    settings_of,
    write_environment,
)

ROOT = Path(__file__).parents[3]


def test_down_stops_whatever_was_started_in_the_folder(tmp_path):
    processes.start(tmp_path, processes.Process("another-worker", ["sleep", "300"], lambda: True))
    assert processes.is_running(tmp_path, "another-worker")
    assert stack.down(tmp_path, ("bridge",)) == ()
    assert processes.is_running(tmp_path, "another-worker")
    assert stack.down(tmp_path) == ("another-worker",)
    assert processes.names(tmp_path) == ()


def test_a_server_that_ends_at_once_is_told_by_the_last_line_of_its_log(tmp_path):
    process = processes.Process("brief", [sys.executable, "-c", "print('first'); print('port taken')"], lambda: False)
    processes.start(tmp_path, process)
    with pytest.raises(ServiceError) as error:
        processes.wait(tmp_path, process)
    assert str(error.value) == f"brief ended at once: port taken; {tmp_path / 'logs' / 'brief.log'} has the rest"


def test_ports_and_secrets_are_chosen_once_and_only_the_user_may_read_them(tmp_path):
    settings = settings_of(tmp_path, StackStorage.FILES)
    assert settings_of(tmp_path) == settings
    assert len(set(settings.ports.values())) == len(settings.ports)
    write_environment(tmp_path, settings)
    for name in ("settings.json", "env"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_without_servers_for_storage_there_is_no_object_store(tmp_path):
    used = environment(tmp_path, settings_of(tmp_path, StackStorage.FILES))
    assert not [name for name in used if name.startswith("AWS_")]
    assert used["MLFLOW_TRACKING_URI"].startswith("http://127.0.0.1:")


def test_prefect_asks_for_a_password_that_only_this_user_can_read(tmp_path):
    settings = settings_of(tmp_path, StackStorage.FILES)
    server, worker = stack.prefect_server(tmp_path), stack.worker(tmp_path)
    assert len(settings.prefect_auth) > 24
    assert server.environment["PREFECT_SERVER_API_AUTH_STRING"] == settings.prefect_auth
    assert worker.environment["PREFECT_API_AUTH_STRING"] == settings.prefect_auth
    assert settings.prefect_auth not in " ".join((*server.command, *worker.command))
    assert stat.S_IMODE((tmp_path / "settings.json").stat().st_mode) == 0o600


def test_a_folder_keeps_the_storage_that_it_began_with(tmp_path, monkeypatch):
    settings_of(tmp_path, StackStorage.FILES)
    monkeypatch.setattr(stack, "missing", lambda storage: ())
    with pytest.raises(ConfigError, match="keeps its data in files: give another folder for servers"):
        stack.up(tmp_path, storage=StackStorage.SERVERS)


def test_settings_of_a_folder_from_before_there_were_kinds_of_storage_are_read(tmp_path):
    settings_of(tmp_path)
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "storage"}))
    assert known_settings(tmp_path).storage is StackStorage.SERVERS


@pytest.mark.parametrize("text", ["[]", "{", '{"ports": {}}', '{"storage": "tape"}'])
def test_settings_that_cannot_be_read_are_told_with_the_file(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ConfigError, match=r"settings\.json: cannot be read"):
        known_settings(tmp_path)


def test_servers_that_were_not_started_are_stopped_and_have_addresses(tmp_path):
    assert stack.status(tmp_path) == ()
    settings = settings_of(tmp_path, StackStorage.FILES)
    found = stack.status(tmp_path)
    assert [(each.name, each.state) for each in found] == [(name, "stopped") for name in stack.WITHOUT_STORAGE]
    assert found[0].address == settings.address("prefect")


def test_a_process_that_does_not_answer_is_said_to_be_so(tmp_path):
    settings_of(tmp_path, StackStorage.FILES)
    processes.start(tmp_path, processes.Process("mlflow", ["sleep", "300"], lambda: True))
    assert {each.name: each.state for each in stack.status(tmp_path)}["mlflow"] == "not answering"
    stack.down(tmp_path)


@pytest.mark.parametrize("name", ["prefect.yaml", "automations.yaml"])
def test_the_files_to_deploy_are_there_and_an_installation_gets_them(name):
    assert deployment_file(name).is_file()
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"][f"infra/{name}"] == f"flows/local_stack/{name}"
