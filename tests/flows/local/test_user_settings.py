"""The settings file of the user's home: what it may hold, whose it must be, and that the environment comes first."""

import stat

import pytest

from autocast_core.errors import ConfigError
from flows.local.user_settings import apply_settings_file, read_settings, settings_file, write_settings


@pytest.fixture
def file(tmp_path):
    return tmp_path / "autocast" / "settings.toml"


def written(file, text, mode=0o600):
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return {"AUTOCAST_SETTINGS": str(file)}


def test_the_file_is_below_the_folder_for_settings_of_the_user_and_of_no_other_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert settings_file({}) == tmp_path / ".config" / "autocast" / "settings.toml"
    assert settings_file({"XDG_CONFIG_HOME": "/etc/me"}).parent.as_posix() == "/etc/me/autocast"
    assert settings_file({"XDG_CONFIG_HOME": "here"}) == tmp_path / ".config" / "autocast" / "settings.toml"
    assert settings_file({"AUTOCAST_SETTINGS": ""}) is None


def test_the_environment_comes_before_the_file(file):
    environment = written(file, 'AUTOCAST_CACHE_BYTES = 5\nAUTOCAST_ISOLATION = "process"\n')
    environment["AUTOCAST_ISOLATION"] = "none"
    apply_settings_file(environment)
    assert (environment["AUTOCAST_ISOLATION"], environment["AUTOCAST_CACHE_BYTES"]) == ("none", "5")


@pytest.mark.parametrize(
    ("named", "kept"),
    [
        ("PREFECT_API_URL", {"MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"}),
        ("MLFLOW_TRACKING_URI", {"PREFECT_API_KEY", "AWS_SECRET_ACCESS_KEY"}),
        ("AWS_ENDPOINT_URL_S3", {"PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN"}),
        ("AWS_PROFILE", {"PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN"}),
    ],
)
def test_credentials_of_the_file_go_to_no_server_that_the_environment_names(file, named, kept):
    secrets = ("PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY")
    environment = written(file, "".join(f'{name} = "s"\n' for name in secrets)) | {named: "elsewhere"}
    apply_settings_file(environment)
    assert {name for name in secrets if name in environment} == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('PATH = "/tmp"', "PATH is not a setting"),
        ('PYTHONPATH = "."', "PYTHONPATH is not a setting"),
        ("AUTOCAST_CACHE_BYTES = [1]", "give a string or a number"),
        ("AUTOCAST_CACHE_BYTES 5", "write lines such as"),
        ("[AUTOCAST_X]\na = 1", "give a string or a number"),
    ],
)
def test_what_is_not_a_setting_is_refused_with_the_file_and_the_remedy(file, text, said):
    written(file, text)
    with pytest.raises(ConfigError, match=said) as error:
        read_settings(file)
    assert str(file) in str(error.value)


def test_a_settings_file_that_others_may_write_or_that_is_a_link_is_refused(file, tmp_path):
    written(file, 'AUTOCAST_ISOLATION = "none"\n', 0o620)
    with pytest.raises(ConfigError, match="others may write it: chmod 600"):
        read_settings(file)
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(ConfigError, match="cannot be read as this user's settings file"):
        read_settings(tmp_path / "link")


def test_another_server_does_not_get_the_credentials_of_the_one_before(file):
    before = {"PREFECT_API_URL": "http://a", "PREFECT_API_KEY": "s", "MLFLOW_TRACKING_TOKEN": "t"}
    write_settings(file, before)
    write_settings(file, {"PREFECT_API_URL": "http://a"})
    assert read_settings(file) == before
    write_settings(file, {"PREFECT_API_URL": "http://b"})
    assert read_settings(file) == {"PREFECT_API_URL": "http://b", "MLFLOW_TRACKING_TOKEN": "t"}


def test_writing_keeps_what_was_there_and_only_the_user_may_read_it(file):
    write_settings(file, {"AUTOCAST_ISOLATION": "none", "MLFLOW_TRACKING_URI": "http://a"})
    write_settings(file, {"MLFLOW_TRACKING_URI": 'http://ü"\\b'})
    assert read_settings(file) == {"AUTOCAST_ISOLATION": "none", "MLFLOW_TRACKING_URI": 'http://ü"\\b'}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
