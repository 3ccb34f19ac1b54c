"""The judge of masks, beside scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from autocast_core.errors import DataError
from tests.autocast_core.evaluate.judges.judging import judged, values


def scores(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def near(array: np.ndarray, seed: int = 9) -> np.ndarray:
    return array + 0.3 * scores(seed, *array.shape)


def test_fp32_against_itself_is_perfect_in_every_form() -> None:
    for array in (scores(0, 3, 5, 4, 6), scores(0, 3, 1, 4, 6), scores(0, 3, 4, 6), np.arange(72).reshape(3, 4, 6) % 5):
        assert values("masks", {"y": array}, batches=2) == {"miou": 1.0, "dice": 1.0, "pixel_agreement": 1.0}


def test_the_metrics_of_classes_are_scikit_learns() -> None:
    expected = scores(1, 4, 5, 6, 7)
    found = near(expected)
    mine = values("masks", {"y": expected}, {"y": found}, batches=2)
    first, second = (each.argmax(axis=1).ravel() for each in (expected, found))
    assert mine["miou"] == pytest.approx(jaccard_score(first, second, average="macro"))
    assert mine["dice"] == pytest.approx(f1_score(first, second, average="macro"))
    assert mine["pixel_agreement"] == pytest.approx(accuracy_score(first, second))
    assert 0.3 < mine["miou"] < 0.95


def test_the_metrics_to_labels_are_scikit_learns_without_ignored_pixels() -> None:
    expected, labels = scores(2, 3, 4, 5, 5), np.random.default_rng(3).integers(0, 4, (3, 5, 5))
    found = near(expected)
    labels[0, :2] = 255
    mine = values("masks", {"y": expected}, {"y": found}, labels, batches=3)
    known = labels.ravel() != 255
    for name, array in (("label_miou_fp32", expected), ("label_miou", found)):
        wanted = jaccard_score(labels.ravel()[known], array.argmax(axis=1).ravel()[known], average="macro")
        assert mine[name] == pytest.approx(wanted)
    assert mine["label_miou_drop"] == pytest.approx(mine["label_miou_fp32"] - mine["label_miou"])


@pytest.mark.parametrize(("low", "high", "limit"), [(0.0, 1.0, 0.5), (-4.0, 4.0, 0.0)])
def test_a_binary_mask_is_cut_where_its_scores_say(low: float, high: float, limit: float) -> None:
    expected = np.random.default_rng(4).uniform(low, high, (2, 1, 6, 6))
    found = np.clip(near(expected), low, high)
    wanted = jaccard_score((expected > limit).ravel(), (found > limit).ravel(), average="macro")
    assert values("masks", {"y": expected}, {"y": found})["miou"] == pytest.approx(wanted)


def test_planted_pixels_are_all_found_with_their_batch() -> None:
    expected = np.zeros((4, 6, 6), np.int64)
    found = expected.copy()
    found[2, 0, :3] = 1
    found[3, 5, 5] = 1
    mine = judged("masks", {"y": expected}, {"y": found}, batches=4)
    assert mine.values["pixel_agreement"] == 1 - 4 / 144
    assert mine.worst["pixel_agreement"] == (1 - 3 / 36, 2)


def test_a_pixel_that_becomes_nan_is_of_no_class() -> None:
    expected = scores(5, 1, 3, 4, 4)
    found = expected.copy()
    found[0, 1, 2, 2] = np.nan
    assert values("masks", {"y": expected}, {"y": found})["pixel_agreement"] == 15 / 16


def test_bad_input_is_named_with_what_fits() -> None:
    with pytest.raises(
        DataError, match=r"cannot read the outputs y \[2, 3\] float64; it reads scores \[batch, classes"
    ):
        values("masks", {"y": np.zeros((2, 3))})
    with pytest.raises(DataError, match=r"form=map does not fit"):
        values("masks:form=map", {"y": np.zeros((2, 3, 4, 4))})
    with pytest.raises(DataError, match=r"labels of int64 \[None, 3\] do not fit the classes \[None, 4, 4\]"):
        values("masks", {"y": np.zeros((2, 3, 4, 4))}, labels=np.zeros((2, 3), np.int64))
