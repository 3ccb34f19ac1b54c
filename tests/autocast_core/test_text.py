"""Counts with their nouns, and foreign text on one safe line."""

from autocast_core.text import how_many, one_line, visible


def test_a_count_has_its_noun_in_the_right_number():
    assert [how_many(count, "node") for count in (0, 1, 1234)] == ["0 nodes", "1 node", "1,234 nodes"]
    assert [how_many(count, "node is", "nodes are") for count in (1, 2)] == ["1 node is", "2 nodes are"]


def test_control_and_direction_characters_are_written_out():
    assert visible("a\nb\x1b[31m\u202egnp") == "a\\nb\\x1b[31m\\u202egnp"


def test_a_lone_surrogate_can_be_encoded_afterwards():
    assert visible("a\ud800").encode() == b"a\\ud800"


def test_ten_thousand_letters_are_cut_and_counted():
    text = visible("n" * 10_000)
    assert len(text) < 250
    assert text.endswith("(10,000 characters)")


def test_letters_of_any_language_stay():
    assert visible("слой/層/é") == "слой/層/é"


def test_a_message_is_one_line_without_terminal_escapes() -> None:
    assert one_line(ValueError("a\n  b\t\x1b[31mc")) == "a b \\x1b[31mc"


def test_an_error_without_a_message_is_its_class() -> None:
    assert one_line(KeyError()) == "KeyError"


def test_a_long_message_is_cut_at_the_limit() -> None:
    assert one_line("word " * 100, 10) == "word word…"
