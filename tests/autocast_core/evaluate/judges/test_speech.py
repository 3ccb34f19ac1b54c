"""The judge of speech, beside jiwer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate.judges.edit_distance import edit_distance
from autocast_core.evaluate.judges.speech import greedy_ctc
from tests.autocast_core.evaluate.judges.judging import judged, values

LETTERS = "_abcdefg"


def frames(*texts: str) -> np.ndarray:
    """Scores whose best character in each frame is that of the text."""
    found = np.zeros((len(texts), len(texts[0]), len(LETTERS)), np.float32)
    for row, text in enumerate(texts):
        for frame, letter in enumerate(text):
            found[row, frame, LETTERS.index(letter)] = 1.0
    return found


def text(numbers: Sequence[int]) -> str:
    return "".join(LETTERS[number] for number in numbers)


def slow_distance(left: Sequence[int], right: Sequence[int]) -> int:
    """Levenshtein's recursion, row by row."""
    row = list(range(len(right) + 1))
    for number, one in enumerate(left, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(right, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (one != other))
    return row[-1]


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_the_edit_distance_is_levenshteins(left: list[int], right: list[int]) -> None:
    assert edit_distance(left, right) == slow_distance(left, right)


def test_repeated_characters_are_one_unless_a_blank_parts_them() -> None:
    decoded = greedy_ctc(frames("aa_ab__c", "________"), 0)
    assert [text(each) for each in decoded] == ["aabc", ""]
    assert text(greedy_ctc(frames("gg_ab__c"), -1)[0]) == "_ab_c"


def test_fp32_against_itself_is_perfect() -> None:
    assert values("speech", {"y": frames("aa_ab__c", "d_e_f_gg")}) == {"cer": 0.0, "edits": 0.0, "changed": 0.0}


def test_planted_changes_are_all_found_with_their_batch() -> None:
    expected = frames("aa_ab__c", "d_e_f_gg", "abcdefga")
    found = frames("aa_ab__d", "d_e_____", "abcdefga")
    mine = judged("speech", {"y": expected}, {"y": found}, batches=3)
    assert (mine.values["edits"], mine.values["changed"], mine.values["cer"]) == (3.0, 2.0, 3 / 16)
    assert mine.worst["edits"] == (2.0, 1)


def test_the_rates_are_jiwers() -> None:
    jiwer = pytest.importorskip("jiwer")
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(6, 30, 8)).astype(np.float32)
    found = expected + rng.normal(0, 0.4, expected.shape).astype(np.float32)
    labels = rng.integers(1, 8, (6, 20))
    labels[:, 14:] = -1
    mine = values("speech", {"y": expected}, {"y": found}, labels, batches=2)
    first, second = ([text(each) for each in greedy_ctc(array, 0)] for array in (expected, found))
    true = [text(row[row >= 0]) for row in labels]
    assert mine["cer"] == pytest.approx(jiwer.cer(first, second))
    assert mine["label_cer_fp32"] == pytest.approx(jiwer.cer(true, first))
    assert mine["label_cer"] == pytest.approx(jiwer.cer(true, second))
    assert mine["label_cer_rise"] == pytest.approx(mine["label_cer"] - mine["label_cer_fp32"])
    assert 0.0 < mine["cer"] < 1.0


def test_a_frame_that_becomes_nan_is_another_character() -> None:
    expected = frames("abc")
    found = expected.copy()
    found[0, 1] = np.nan
    assert values("speech", {"y": expected}, {"y": found})["edits"] == 1.0


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(
        DataError, match=r"outputs y \[2, 3\] float64; it reads CTC scores \[batch, frames, characters\]"
    ):
        values("speech", {"y": np.zeros((2, 3))})
    with pytest.raises(ConfigError, match="blank=8 is not one of the 8 characters of 'y'"):
        values("speech:blank=8", {"y": frames("abc")})
    with pytest.raises(DataError, match=r"give \[utterances, characters\]"):
        values("speech", {"y": frames("abc")}, labels=np.zeros(1, np.int64))
