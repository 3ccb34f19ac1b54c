"""`autocast` itself: its version, and completion in shells."""

import pytest

from autocast_core.version import VERSION


def test_it_tells_its_version(autocast):
    ended = autocast("--version")
    assert (ended.code, ended.out) == (0, f"autocast {VERSION}\n")


@pytest.mark.parametrize(
    ("words", "completed"),
    [("autocast doc", "doctor"), ("autocast doctor --js", "--json"), ("autocast plan sh", "show")],
)
def test_shells_complete_commands_and_options(words, completed, autocast, monkeypatch):
    monkeypatch.setenv("_AUTOCAST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    ended = autocast()
    assert (ended.code, ended.out.split()) == (0, [completed])


def test_it_shows_what_a_shell_must_run_to_complete(autocast, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    monkeypatch.setenv("_AUTOCAST_COMPLETE", "source_bash")
    ended = autocast()
    assert "complete -o default -F _autocast_completion autocast" in ended.out
