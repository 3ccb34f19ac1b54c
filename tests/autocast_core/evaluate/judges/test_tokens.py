"""The judge of tokens, beside scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr, softmax
from sklearn.metrics import accuracy_score, log_loss

from autocast_core.errors import DataError
from tests.autocast_core.evaluate.judges.judging import judged, values


def logits(seed: int, *shape: int) -> np.ndarray:
    return (3.0 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


EXPECTED = logits(0, 5, 8, 13)
FOUND = EXPECTED + 0.2 * logits(1, 5, 8, 13)


def test_fp32_against_itself_is_perfect() -> None:
    assert values("tokens", {"y": EXPECTED}, batches=2) == {
        "agreement": 1.0,
        "first_difference": 8.0,
        "same_sequences": 1.0,
        "kl_divergence": 0.0,
        "perplexity_change": 0.0,
    }


def test_agreement_and_divergence_are_those_of_scikit_learn_and_scipy() -> None:
    mine = values("tokens", {"y": EXPECTED}, {"y": FOUND}, batches=2)
    first, second = EXPECTED.argmax(axis=-1), FOUND.argmax(axis=-1)
    assert mine["agreement"] == pytest.approx(accuracy_score(first.ravel(), second.ravel()))
    p, q = (softmax(each.astype(np.float64), axis=-1) for each in (EXPECTED, FOUND))
    assert mine["kl_divergence"] == pytest.approx(rel_entr(p, q).sum(axis=-1).mean())
    assert 0.5 < mine["agreement"] < 1.0


def test_perplexity_on_labels_is_exp_of_scikit_learns_log_loss_without_ignored_positions() -> None:
    labels = np.random.default_rng(2).integers(0, 13, (5, 8))
    labels[:, 6:] = -100
    mine = values("tokens", {"y": EXPECTED}, {"y": FOUND}, labels, batches=2)
    known = labels != -100
    wanted = [
        np.exp(log_loss(labels[known], softmax(each.astype(np.float64), axis=-1)[known], labels=range(13)))
        for each in (EXPECTED, FOUND)
    ]
    assert (mine["perplexity_fp32"], mine["perplexity"]) == pytest.approx(tuple(wanted))
    assert mine["perplexity_change"] == pytest.approx(wanted[1] / wanted[0] - 1)
    first, second = EXPECTED.argmax(axis=-1)[known], FOUND.argmax(axis=-1)[known]
    assert mine["agreement"] == pytest.approx(accuracy_score(first, second))


def test_without_labels_the_change_of_perplexity_is_on_fp32s_own_choices() -> None:
    chosen = EXPECTED.argmax(axis=-1)[..., None]
    losses = [
        -np.take_along_axis(log_softmax(each.astype(np.float64), axis=-1), chosen, -1).mean()
        for each in (EXPECTED, FOUND)
    ]
    found = values("tokens", {"y": EXPECTED}, {"y": FOUND})
    assert found["perplexity_change"] == pytest.approx(np.exp(losses[1] - losses[0]) - 1)
    assert "perplexity" not in found


def test_planted_tokens_are_all_found_with_the_first_of_them_and_its_batch() -> None:
    found = EXPECTED.copy()
    for sequence, position in ((1, 6), (3, 2), (3, 7), (4, 5)):
        found[sequence, position, EXPECTED[sequence, position].argmin()] = 99.0
    mine = judged("tokens", {"y": EXPECTED}, {"y": found}, batches=5)
    assert mine.values["agreement"] == 36 / 40
    assert mine.values["same_sequences"] == 2 / 5
    assert mine.values["first_difference"] == 2.0
    assert mine.worst["first_difference"] == (2.0, 3)
    assert mine.worst["agreement"] == (6 / 8, 3)


def test_inputs_may_be_the_labels_of_a_causal_model() -> None:
    ids = np.random.default_rng(3).integers(0, 13, (5, 8))
    shifted = np.concatenate([ids[:, 1:], np.full((5, 1), -100)], axis=1)
    by_hand = values("tokens", {"y": EXPECTED}, {"y": FOUND}, shifted)
    assert values("tokens:shift=1", {"y": EXPECTED}, {"y": FOUND}, ids) == pytest.approx(
        by_hand | {"first_difference": by_hand["first_difference"]}
    )


def test_logits_of_one_position_are_read_too() -> None:
    assert values("tokens", {"y": EXPECTED[:, 0]}, {"y": FOUND[:, 0]})["first_difference"] in (0.0, 1.0)


def test_a_position_that_becomes_nan_agrees_in_nothing() -> None:
    found = EXPECTED.copy()
    found[0, 3] = np.nan
    mine = values("tokens", {"y": EXPECTED}, {"y": found})
    assert (mine["agreement"], mine["first_difference"]) == (39 / 40, 3.0)
    assert mine["kl_divergence"] == mine["perplexity_change"] == np.inf


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(DataError, match=r"outputs y \[4\] float64; it reads logits \[batch, positions, tokens\]"):
        values("tokens", {"y": np.zeros(4)})
    with pytest.raises(DataError, match=r"labels of int64 \[None, 8\] do not fit.*from 0 to 12, or -100"):
        values("tokens", {"y": EXPECTED}, labels=np.full((5, 8), 13))
    with pytest.raises(DataError, match="shift=8 leaves no position"):
        values("tokens:shift=8", {"y": EXPECTED})
