"""The judge of rankings, beside scikit-learn and counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from autocast_core.errors import DataError
from tests.autocast_core.evaluate.judges.judging import judged, values

EXPECTED = np.array([[9.0, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6], [5, 5, 1, 0, 0, 0], [3, 9, 2, 8, 1, 7]], np.float32)


def test_fp32_against_itself_is_perfect() -> None:
    assert set(values("ranking", {"y": EXPECTED}, batches=2).values()) == {0.0}


def test_planted_flips_are_all_found_with_their_margins_and_batches() -> None:
    found = EXPECTED.copy()
    found[0, [0, 1]] = [8, 9]  # another first item, the same three: 1 apart
    found[1, 0] = 5.5  # item 0 comes in, item 3 leaves: 3 apart
    found[3, [1, 2]] = [2, 9]  # the first item leaves for one that was 7 behind
    mine = judged("ranking:k=3", {"y": EXPECTED}, {"y": found}, batches=4)
    assert [mine.values[name] for name in ("top1_flips", "topk_flips", "order_flips")] == [2.0, 2.0, 3.0]
    assert (mine.values["top1_margin"], mine.values["topk_margin"]) == (7.0, 7.0)
    assert mine.values["topk_flip_share"] == 0.5
    assert mine.worst["top1_margin"] == (7.0, 3)
    assert mine.worst["topk_flips"] == (1.0, 1)


def test_of_equal_scores_the_first_is_the_better_one_as_in_topk() -> None:
    found = EXPECTED.copy()
    found[2, 1] = 5.001
    mine = values("ranking:k=2", {"y": EXPECTED}, {"y": found})
    assert (mine["top1_flips"], mine["top1_margin"], mine["topk_flips"]) == (1.0, 0.0, 0.0)


def test_a_row_that_becomes_nan_falls_behind() -> None:
    found = EXPECTED.copy()
    found[0, 0] = np.nan
    mine = values("ranking:k=1", {"y": EXPECTED}, {"y": found})
    assert (mine["top1_flips"], mine["top1_margin"]) == (1.0, 1.0)


@pytest.mark.parametrize("k", [3, 5, 9])
def test_gain_by_relevance_is_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(0)
    expected, relevance = rng.normal(size=(12, 7)), rng.integers(0, 4, (12, 7))
    found = expected + rng.normal(0, 0.5, expected.shape)
    mine = values(f"ranking:k={k}", {"y": expected}, {"y": found}, relevance, batches=3)
    assert mine["ndcg_fp32"] == pytest.approx(ndcg_score(relevance, expected, k=k))
    assert mine["ndcg"] == pytest.approx(ndcg_score(relevance, found, k=k))
    assert mine["ndcg_drop"] == pytest.approx(mine["ndcg_fp32"] - mine["ndcg"])


def test_the_index_of_the_right_item_is_a_relevance_of_one() -> None:
    right = np.array([0, 4, 1, 3])
    wanted = ndcg_score(np.eye(6)[right], EXPECTED, k=5)
    # Scikit-learn shares the gain of equal scores: without ties both are the same.
    rows = [0, 1, 3]
    wanted = ndcg_score(np.eye(6)[right[rows]], EXPECTED[rows], k=5)
    assert values("ranking", {"y": EXPECTED[rows]}, labels=right[rows])["ndcg"] == pytest.approx(wanted)


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(DataError, match=r"outputs y \[4\] float64; it reads scores \[batch, …, items\]"):
        values("ranking", {"y": np.zeros(4)})
    with pytest.raises(DataError, match=r"labels of int64 \[None\] do not fit the scores \[None, 6\]"):
        values("ranking", {"y": EXPECTED}, labels=np.array([0, 1, 2, 6]))
