"""A home folder that somebody else chose is refused."""

import os

import pytest

from autocast_core.errors import OutputError
from flows.local.home import Home, home
from flows.local.own_files import check_home
from flows.local.session import flow_session, reading_session
from tasks.progress import SilentListener


@pytest.fixture
def somebody_else(monkeypatch):
    """`somebody_else(folder)`: from now on the folder is another user's."""

    def give(folder):
        if os.getuid() == 0:
            os.chown(folder, 4242, -1)
        else:
            monkeypatch.setattr("os.getuid", lambda: 4242)

    return give


def test_a_home_of_ones_own_passes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCAST_HOME", raising=False)
    check_home(home())
    check_home(Home(tmp_path / "new" / "home"))


@pytest.mark.parametrize("session", [lambda: flow_session(SilentListener()), reading_session], ids=["flow", "reading"])
def test_a_home_in_another_users_folder_is_refused_with_the_remedy(tmp_path, monkeypatch, somebody_else, session):
    folder = tmp_path / "downloads"
    (folder / ".autocast").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("AUTOCAST_HOME", raising=False)
    somebody_else(folder)
    with pytest.raises(OutputError, match="belongs to another user: set AUTOCAST_HOME") as caught, session():
        pass
    assert caught.value.exit_code == 2
    assert list((folder / ".autocast").iterdir()) == []


def test_another_users_home_is_refused(tmp_path, somebody_else):
    (tmp_path / "theirs").mkdir()
    somebody_else(tmp_path / "theirs")
    with pytest.raises(OutputError, match="belongs to another user"):
        check_home(Home(tmp_path / "theirs"))


@pytest.mark.parametrize("name", ["cache", "work", "logs", "prefect", "running", "mlflow.db"])
def test_a_link_in_a_home_folder_is_refused(tmp_path, name):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=f"{name}: is a link"):
        check_home(Home(tmp_path / "home"))


def test_a_default_home_that_is_a_link_is_refused(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".autocast").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AUTOCAST_HOME", raising=False)
    with pytest.raises(OutputError, match="is a link"):
        check_home(home())
