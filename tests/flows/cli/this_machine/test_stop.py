"""`autocast stop`: ends what commands keep for one another."""

import pytest

from flows.local.embedded_server import ALIVE, embedded_server
from flows.local.home import home
from tests.settings import forgotten_settings

pytestmark = pytest.mark.xdist_group("embedded server")


def test_it_ends_the_server_of_this_home_and_says_so(autocast, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    with embedded_server(home().server, idle_seconds=60.0) as server:
        assert (server.folder / ALIVE).exists()
    assert autocast("stop", "--json").json == {
        "ok": True,
        "error": None,
        "home": str(tmp_path / "home"),
        "stopped": 1,
    }
    ended = autocast("stop")
    assert (ended.code, ended.out) == (0, f"{tmp_path / 'home'}: no server was running\n")


def test_it_follows_no_link(autocast, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    with forgotten_settings():
        monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
        (tmp_path / "elsewhere" / "prefect").symlink_to(tmp_path)
        ended = autocast("stop")
    assert ended.code == 2 and "is a link, which is not followed" in ended.errors[0]
