"""Top-1 and top-5 accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from autocast_core.errors import DataError
from autocast_core.evaluate import TaskMetrics, TopK


def test_batches_consume_the_labels_in_order() -> None:
    top = TopK(np.array([1, 0, 2]))
    top.add(np.array([[0.0, 1.0, 0.0], [5.0, 1.0, 0.0]]))
    top.add(np.array([[9.0, 0.0, 1.0]]))
    assert (top.top1(), top.samples) == (2 / 3, 3)


def test_every_position_of_a_sequence_counts() -> None:
    top = TopK(np.array([[0, 1]]))
    top.add(np.array([[[1.0, 0.0], [1.0, 0.0]]]))
    assert top.top1() == 0.5


def test_class_indices_may_be_the_output_and_labels_a_column() -> None:
    top = TopK(np.array([[3], [4]]))
    top.add(np.array([3, 5]))
    assert top.top1() == 0.5


def test_nan_scores_are_wrong() -> None:
    top = TopK(np.array([0]))
    top.add(np.array([[np.nan, 1.0]]))
    assert top.top1() == 0.0


def test_labels_that_do_not_fit_name_both_shapes() -> None:
    with pytest.raises(DataError, match=r"labels \[1\] do not fit the first output \[2, 3\]"):
        TopK(np.array([0])).add(np.zeros((2, 3)))
    with pytest.raises(DataError, match=r"labels \[1\] do not fit the first output \[\]"):
        TopK(np.array([0])).add(np.float32(3))
    with pytest.raises(DataError, match="2 labels for 0 samples"):
        TopK(np.array([0, 1])).top1()
    with pytest.raises(DataError, match="type float64: give class indices"):
        TopK(np.array([0.5]))


def test_the_label_may_be_among_the_best_five():
    scores = np.array([[9.0, 8, 7, 6, 5, 4], [9, 8, 7, 6, 5, 4], [1, 1, 1, 1, 1, 1]])
    top = TopK(np.array([4, 5, 4]))
    top.add(scores)
    assert (top.top1(), top.top5()) == (0.0, 2 / 3)


def test_of_equal_scores_the_first_wins():
    top = TopK(np.array([0, 1]))
    top.add(np.array([[1.0, 1.0], [1.0, 1.0]]))
    assert top.top1() == 0.5


def test_a_label_that_is_no_class_is_never_right():
    top = TopK(np.array([-100, 7]))
    top.add(np.zeros((2, 6)))
    assert (top.top1(), top.top5()) == (0.0, 0.0)


@pytest.mark.parametrize("scores", [np.zeros((1, 5)), np.array([0])])
def test_five_classes_and_bare_classes_have_no_top5(scores):
    top = TopK(np.array([0]))
    top.add(scores)
    assert (top.top1(), top.top5()) == (1.0, None)


def test_top5_is_logged_where_it_says_something():
    assert "task/top5" not in TaskMetrics(0.5, 0.5, 2).metrics()
    metrics = TaskMetrics(0.5, 0.5, 4, reference_top5=1.0, candidate_top5=0.75).metrics()
    assert (metrics["task/top5"], metrics["task/top5_fp32"], metrics["task/top5_drop"]) == (0.75, 1.0, 0.25)


def test_a_reference_without_accuracy_has_none_to_lose() -> None:
    assert TaskMetrics(0.0, 0.5, 2).ratio == 1.0
    assert TaskMetrics(0.8, 0.6, 5).drop == pytest.approx(0.2)
