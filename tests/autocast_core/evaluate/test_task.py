"""Top-1 accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from autocast_core.errors import DataError
from autocast_core.evaluate import TaskMetrics, Top1


def test_batches_consume_the_labels_in_order() -> None:
    top = Top1(np.array([1, 0, 2]))
    top.add(np.array([[0.0, 1.0, 0.0], [5.0, 1.0, 0.0]]))
    top.add(np.array([[9.0, 0.0, 1.0]]))
    assert (top.accuracy(), top.samples) == (2 / 3, 3)


def test_every_position_of_a_sequence_counts() -> None:
    top = Top1(np.array([[0, 1]]))
    top.add(np.array([[[1.0, 0.0], [1.0, 0.0]]]))
    assert top.accuracy() == 0.5


def test_class_indices_may_be_the_output_and_labels_a_column() -> None:
    top = Top1(np.array([[3], [4]]))
    top.add(np.array([3, 5]))
    assert top.accuracy() == 0.5


def test_nan_scores_are_wrong() -> None:
    top = Top1(np.array([0]))
    top.add(np.array([[np.nan, 1.0]]))
    assert top.accuracy() == 0.0


def test_labels_that_do_not_fit_name_both_shapes() -> None:
    with pytest.raises(DataError, match=r"labels \[1\] do not fit the first output \[2, 3\]"):
        Top1(np.array([0])).add(np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"labels \[1\] do not fit the first output \[\]"):
        Top1(np.array([0])).add(np.float32(3))
    with pytest.raises(DataError, match="2 labels for 0 samples"):
        Top1(np.array([0, 1])).accuracy()
    with pytest.raises(DataError, match="type float64: give class indices"):
        Top1(np.array([0.5]))


def test_a_reference_without_accuracy_has_none_to_lose() -> None:
    assert TaskMetrics(0.0, 0.5, 2).ratio == 1.0
    assert TaskMetrics(0.8, 0.6, 5).drop == pytest.approx(0.2)
