"""`autocast up`, `status` and `down` without servers; tests/integration starts them."""

import pytest

from flows.cli.this_machine.up import show, who_may_enter
from flows.local_stack.stack_settings import StackStorage, settings_of


def test_status_ends_with_3_where_nothing_was_started(autocast, tmp_path):
    ended = autocast("status", tmp_path, "--json")
    assert (ended.code, ended.json["servers"]) == (3, [])
    assert "run autocast up" in ended.json["error"]
    assert autocast("down", tmp_path, "--json").json["stopped"] == []


def test_a_folder_that_cannot_be_used_is_bad_input(autocast, tmp_path):
    (tmp_path / "file").write_text("")
    ended = autocast("up", tmp_path / "file")
    assert ended.code == 2
    assert len(ended.errors) == 1


def test_each_server_is_a_line_with_its_address_and_what_has_none_shows_its_log(capsys):
    servers = [
        {"name": "prefect", "state": "ready", "address": "http://127.0.0.1:4200", "log": "prefect.log"},
        {"name": "worker", "state": "ready", "address": None, "log": "worker.log"},
    ]
    show({"servers": servers})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["prefect", "ready", "http://127.0.0.1:4200"], ["worker", "ready", "log:", "worker.log"]]


@pytest.mark.parametrize(
    ("storage", "said"),
    [(StackStorage.FILES, "MLflow asks for no"), (StackStorage.SERVERS, "Prefect and MLflow ask for no")],
)
def test_up_says_which_servers_ask_for_no_password(tmp_path, storage, said):
    settings_of(tmp_path, storage)
    assert said in who_may_enter(tmp_path)
