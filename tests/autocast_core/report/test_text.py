import math

import pytest

from autocast_core.report.text import markdown, number, relative_change, shown, size, table


def test_markdown_of_a_hostile_name_is_plain_words():
    assert markdown("<b>|`x`*y*[l](http://e)_z") == (
        "&#60;b&#62;&#124;&#96;x&#96;&#42;y&#42;&#91;l&#93;(http&#58;//e)\\_z"
    )


def test_a_table_has_one_line_per_row():
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (0.0, "0"),
        (1000.0, "1,000"),
        (0.000501, "0.000501"),
        (0.9999874, "0.9999874"),
        (3.14159, "3.142"),
        (1.5e-07, "1.5e-07"),
        (0.9875, "0.9875"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_sizes_are_decimal():
    assert [size(999), size(1_500_000), size(2 * 10**9)] == ["999 B", "1.50 MB", "2.00 GB"]


def test_nested_options_read_as_pairs():
    assert shown({"a": [1, 2], "b": None}) == "a=1, 2, b=–"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (2.0, 1.0, "−50%"),
        (1.0, 1.004, "±0%"),
        (1.0, 0.999, "±0%"),
        (0.0, 1.0, ""),
        (math.inf, 1.0, ""),
        (1.0, math.nan, ""),
    ],
)
def test_a_change_has_a_sign_and_says_nothing_where_there_is_nothing_to_say(before, after, text):
    assert relative_change(before, after) == text
