"""`autocast up`, `status` and `down` without servers; tests/integration starts them."""


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
