"""The judge of embeddings, beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from autocast_core.errors import DataError
from tests.autocast_core.evaluate.judges.judging import judged, values

EXPECTED = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
FOUND = EXPECTED + 0.2 * np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)


def neighbours(vectors: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors).kneighbors(return_distance=False))


def test_fp32_against_itself_is_perfect() -> None:
    found = values("embeddings", {"y": EXPECTED}, batches=4)
    assert found["pair_cosine"] == pytest.approx(1.0, abs=1e-12)
    assert [found[f"recall_at_{k}"] for k in (1, 5, 10)] == [1.0, 1.0, 1.0]
    assert found["similarity_shift"] == 0.0


def test_cosines_are_scikit_learns() -> None:
    mine = values("embeddings", {"y": EXPECTED}, {"y": FOUND}, batches=4)
    own = np.diag(cosine_similarity(EXPECTED.astype(np.float64), FOUND.astype(np.float64)))
    assert (mine["pair_cosine"], mine["mean_pair_cosine"]) == pytest.approx((own.min(), own.mean()))
    first, second = (cosine_similarity(each.astype(np.float64)) for each in (EXPECTED, FOUND))
    assert mine["similarity_shift"] == pytest.approx(np.abs(first - second).max())


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recall_is_the_share_of_scikit_learns_neighbours(k: int) -> None:
    mine = values("embeddings", {"y": EXPECTED}, {"y": FOUND}, batches=4)
    pairs = zip(neighbours(EXPECTED, k), neighbours(FOUND, k), strict=True)
    assert mine[f"recall_at_{k}"] == pytest.approx(np.mean([len({*a} & {*b}) / k for a, b in pairs]))
    assert 0.3 < mine[f"recall_at_{k}"] < 1.0


def test_recall_by_labels_asks_for_one_neighbour_of_the_same_label() -> None:
    labels = np.random.default_rng(2).integers(0, 6, 40)
    mine = values("embeddings", {"y": EXPECTED}, {"y": FOUND}, labels, batches=4)
    for k in (1, 5):
        for name, vectors in (("_fp32", EXPECTED), ("", FOUND)):
            wanted = (labels[neighbours(vectors, k)] == labels[:, None]).any(axis=1).mean()
            assert mine[f"label_recall_at_{k}{name}"] == pytest.approx(wanted)


def test_a_planted_vector_is_found_with_its_batch() -> None:
    found = EXPECTED.copy()
    found[23] *= -1
    mine = judged("embeddings", {"y": EXPECTED}, {"y": found}, batches=8)
    assert mine.values["pair_cosine"] == pytest.approx(-1.0)
    assert (mine.worst["pair_cosine"][0], mine.worst["pair_cosine"][1]) == (pytest.approx(-1.0), 4)


def test_a_vector_that_becomes_nan_points_nowhere_and_finds_nothing() -> None:
    found = EXPECTED.copy()
    found[0] = np.nan
    mine = values("embeddings", {"y": EXPECTED}, {"y": found})
    assert (mine["pair_cosine"], mine["similarity_shift"]) == (-1.0, 2.0)
    assert mine["recall_at_1"] <= 39 / 40


def test_few_samples_have_no_recall() -> None:
    assert "recall_at_5" not in values("embeddings", {"y": EXPECTED[:4]})
    assert set(values("embeddings", {"y": EXPECTED[:1]})) == {"pair_cosine", "mean_pair_cosine"}


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(DataError, match=r"outputs y \[2, 3, 4\] float64; it reads vectors \[batch, features\]"):
        values("embeddings", {"y": np.zeros((2, 3, 4))})
    with pytest.raises(DataError, match="give one integer a sample"):
        values("embeddings", {"y": EXPECTED}, labels=np.zeros((40, 2)))
