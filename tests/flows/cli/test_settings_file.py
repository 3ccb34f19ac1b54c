"""The settings file in the user's home, as commands take it."""


def written(file, text):
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_a_command_takes_the_settings_file_and_a_broken_one_is_bad_input_in_one_line(autocast, tmp_path, monkeypatch):
    file = written(tmp_path / "settings.toml", 'AUTOCAST_HOME = "elsewhere"\n')
    monkeypatch.setenv("AUTOCAST_SETTINGS", str(file))
    monkeypatch.setenv("AUTOCAST_HOME", "to be restored")
    monkeypatch.delenv("AUTOCAST_HOME")
    assert autocast("stop", "--json").json["home"] == "elsewhere"
    written(file, "x = 1\n")
    ended = autocast("stop", "--json")
    assert (ended.code, ended.json["ok"]) == (2, False)
    assert len(ended.errors) == 1


def test_a_settings_file_in_the_current_folder_is_not_read(autocast, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("AUTOCAST_SETTINGS", raising=False)
    monkeypatch.delenv("AUTOCAST_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "autocast", tmp_path / ".config" / "autocast", tmp_path / ".autocast"):
        folder.mkdir(parents=True, exist_ok=True)
        written(folder / "settings.toml", 'AUTOCAST_HOME = "planted"\n')
    assert autocast("stop", "--json").json["home"] == ".autocast"
