"""Agreement on classes, against definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autocast_core.evaluate import ClassAgreement, ErrorSums, Fidelity
from autocast_core.evaluate.classification import may_be_class_scores

RNG = np.random.default_rng(5)


def agreement(reference: np.ndarray, candidate: np.ndarray) -> ClassAgreement:
    sums = ErrorSums("y", class_scores=True)
    sums.add(reference, candidate)
    found = sums.result().classes
    assert found is not None
    return found


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


def test_the_divergence_of_rounded_probabilities_is_that_of_their_distributions():
    p = softmax(RNG.normal(size=(64, 1000)))
    rounded = p.astype(np.float16).astype(np.float64)
    q = rounded / rounded.sum(axis=1, keepdims=True)
    true = (p * np.log(p / q)).sum(axis=1).mean()
    taken_as_they_are = abs((p * np.log(p / rounded)).sum(axis=1).mean())
    assert true < 1e-7 < 3e-7 < taken_as_they_are
    assert agreement(p, rounded).kl == pytest.approx(true, rel=1e-3)


def test_of_tied_scores_the_first_classes_are_the_best():
    tied, reference = np.zeros((1, 9)), np.array([[9.0, 8, 7, 6, 5, 4, 3, 2, 1]])
    assert agreement(tied, tied.copy()).top5_agreement == 1.0
    assert agreement(reference, tied).top5_agreement == 1.0
    assert agreement(reference[:, ::-1], tied).top5_agreement == pytest.approx(0.2)
    two_for_one_place = np.array([[3.0, 1.0, 3.0, 3.0, 1.0, 3.0, 0.0]])
    assert agreement(two_for_one_place, np.array([[3.0, 2.0, 3.0, 3.0, 1.0, 3.0, 0.0]])).top5_agreement == 1.0
    assert agreement(two_for_one_place, np.array([[3.0, 1.0, 3.0, 3.0, 2.0, 3.0, 0.0]])).top5_agreement == 0.8


def test_the_best_five_are_those_of_a_stable_sort():
    r, c = (RNG.integers(0, 4, size=(200, 12)).astype(np.float64) for _ in range(2))
    best = [np.argsort(-scores, axis=1, kind="stable")[:, :5] for scores in (r, c)]
    shares = [len({*left} & {*right}) / 5 for left, right in zip(*best, strict=True)]
    assert agreement(r, c).top5_agreement == pytest.approx(np.mean(shares))


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
    whole, parts = agreement(r, c), ErrorSums("y", class_scores=True)
    for rows in (slice(0, 4), slice(4, 30)):
        here = ErrorSums("y", class_scores=True)
        here.add(r[rows], c[rows])
        parts.merge(here)
    found = parts.result().classes
    assert found is not None
    assert found.kl == pytest.approx(whole.kl, rel=1e-12)
    assert (found.top1_agreement, found.top5_agreement) == (whole.top1_agreement, pytest.approx(whole.top5_agreement))


@pytest.mark.parametrize(
    ("shape", "dtype", "possible"),
    [
        ((4, 10), np.float32, True),
        ((2, 8, 16), np.float16, True),
        ((4, 1), np.float32, False),
        ((4,), np.float32, False),
        ((0, 10), np.float32, False),
        ((4, 10), np.int64, False),
    ],
)
def test_scores_of_classes_are_floats_with_a_dimension_of_classes(shape, dtype, possible):
    assert may_be_class_scores(np.zeros(shape, dtype)) is possible


def test_outputs_that_are_not_said_to_be_class_scores_have_no_agreement():
    sums = ErrorSums("embedding")
    sums.add(np.ones((4, 10)), np.ones((4, 10)))
    assert sums.result().classes is None


def test_the_worst_of_several_outputs_is_reported_under_its_name():
    r = RNG.normal(size=(20, 6))
    outputs = []
    for name, candidate in (("a", r), ("b", r[:, ::-1])):
        sums = ErrorSums(name, class_scores=True)
        sums.add(r, candidate)
        outputs.append(sums.result())
    metrics = Fidelity(tuple(outputs), "fixed", 1).metrics()
    assert metrics["fidelity/kl"] == metrics["fidelity/outputs/b/kl"] > metrics["fidelity/outputs/a/kl"] == 0.0
    assert metrics["fidelity/top1_agreement"] == metrics["fidelity/outputs/b/top1_agreement"] < 1.0
