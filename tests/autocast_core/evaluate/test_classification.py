"""Agreement on classes, against definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autocast_core.evaluate import ClassAgreement, ErrorSums, Fidelity
from autocast_core.evaluate.classification import has_classes

RNG = np.random.default_rng(5)


def agreement(reference: np.ndarray, candidate: np.ndarray, name: str = "y", *, labelled: bool = False):
    sums = ErrorSums(name, labelled=labelled)
    sums.add(reference, candidate)
    return sums.result().classes


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_agreement_and_divergence_of_scores_are_as_defined():
    r = RNG.normal(size=(40, 9))
    c = r + RNG.normal(size=(40, 9)) / 2
    found = agreement(r, c)
    p, q = softmax(r), softmax(c)
    assert found.kl == pytest.approx((p * np.log(p / q)).sum(axis=1).mean())
    assert found.top1_agreement == np.mean(r.argmax(axis=1) == c.argmax(axis=1))
    best = [set(np.argsort(row)[-5:]) & set(np.argsort(other)[-5:]) for row, other in zip(r, c, strict=True)]
    assert found.top5_agreement == pytest.approx(np.mean([len(both) / 5 for both in best]))


def test_probabilities_are_taken_as_they_are():
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]])
    found = agreement(p, q)
    assert found.kl == pytest.approx((0.5 * math.log(2) + 0.5 * math.log(2 / 3)) / 2)
    assert found == ClassAgreement(0.5, None, found.kl)


def test_a_probability_that_became_zero_is_a_large_divergence_and_not_an_infinite_one():
    found = agreement(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]))
    assert 40 < found.kl < 50


def test_equal_scores_agree_wholly_infinite_ones_too():
    scores = np.array([[1.0, -np.inf, 3.0], [np.inf, 0.0, 1.0]])
    assert agreement(scores, scores.copy()) == ClassAgreement(1.0, None, 0.0)


def test_nan_in_the_candidate_agrees_in_nothing():
    found = agreement(np.ones((2, 8)), np.array([[np.nan] * 8, [1.0] * 8]))
    assert found == ClassAgreement(0.5, 0.5, math.inf)


def test_a_new_infinity_agrees_in_nothing_unless_it_says_never():
    reference = np.array([[5.0, 1.0, -9e4]])
    assert agreement(reference, np.array([[np.inf, 1.0, -9e4]])) == ClassAgreement(0.0, None, math.inf)
    assert agreement(reference, np.array([[5.0, 1.0, -np.inf]])).top1_agreement == 1.0
    assert agreement(reference, np.array([[5.0, 1.0, -np.inf]])).kl == pytest.approx(0.0, abs=1e-30)


def test_nan_in_the_reference_does_not_count():
    found = agreement(np.array([[np.nan, 1.0], [2.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 1.0]]))
    assert found == ClassAgreement(1.0, None, 0.0)


def test_rows_add_up_over_batches():
    r, c = RNG.normal(size=(30, 7)), RNG.normal(size=(30, 7))
    whole, parts = agreement(r, c), ErrorSums("y")
    for rows in (slice(0, 4), slice(4, 30)):
        here = ErrorSums("y")
        here.add(r[rows], c[rows])
        parts.merge(here)
    found = parts.result().classes
    assert found is not None
    assert found.kl == pytest.approx(whole.kl, rel=1e-12)
    assert (found.top1_agreement, found.top5_agreement) == (whole.top1_agreement, pytest.approx(whole.top5_agreement))


@pytest.mark.parametrize(
    ("name", "shape", "labelled", "judged"),
    [
        ("y", (4, 10), False, True),
        ("hidden", (2, 8, 16), False, False),
        ("logits", (2, 8, 16), False, True),
        ("tokens", (2, 8, 16), True, True),
        ("y", (4, 1), True, False),
        ("y", (4,), True, False),
    ],
)
def test_outputs_with_classes_are_known_by_shape_name_or_labels(name, shape, labelled, judged):
    assert has_classes(name, np.zeros(shape, np.float32), labelled=labelled) is judged


def test_integers_have_no_classes():
    assert not has_classes("logits", np.zeros((4, 10), np.int64), labelled=True)


def test_the_worst_of_several_outputs_is_reported_under_its_name():
    r = RNG.normal(size=(20, 6))
    outputs = []
    for name, candidate in (("a", r), ("b", r[:, ::-1])):
        sums = ErrorSums(name)
        sums.add(r, candidate)
        outputs.append(sums.result())
    metrics = Fidelity(tuple(outputs), "fixed", 1).metrics()
    assert metrics["fidelity.worst.kl"] == metrics["fidelity.b.kl"] > metrics["fidelity.a.kl"] == 0.0
    assert metrics["fidelity.worst.top1_agreement"] == metrics["fidelity.b.top1_agreement"] < 1.0
