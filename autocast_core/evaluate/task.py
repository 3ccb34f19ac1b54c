"""Accuracy against labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocast_core.errors import DataError
from autocast_core.evaluate.classification import K
from autocast_core.evaluate.metric_names import TASK


@dataclass(frozen=True)
class TaskMetrics:
    """Top-1 and top-5 accuracy of the reference and of the candidate on the same samples, each from 0 to 1; top-5 is
    None for at most five classes, and where the model gives classes and not scores."""

    reference_top1: float
    candidate_top1: float
    samples: int
    reference_top5: float | None = None
    candidate_top5: float | None = None

    @property
    def drop(self) -> float:
        """How much top-1 accuracy the candidate loses; negative where it gains."""
        return self.reference_top1 - self.candidate_top1

    @property
    def ratio(self) -> float:
        """The candidate's top-1 accuracy over the reference's; 1 where the reference has none to lose."""
        return self.candidate_top1 / self.reference_top1 if self.reference_top1 else 1.0

    def metrics(self, prefix: str = TASK) -> dict[str, float]:
        """By the names that runs are logged under."""
        found = {
            f"{prefix}/top1": self.candidate_top1,
            f"{prefix}/top1_fp32": self.reference_top1,
            f"{prefix}/top1_drop": self.drop,
            f"{prefix}/metric_ratio": self.ratio,
        }
        if self.reference_top5 is None or self.candidate_top5 is None:
            return found
        return {
            **found,
            f"{prefix}/top5": self.candidate_top5,
            f"{prefix}/top5_fp32": self.reference_top5,
            f"{prefix}/top5_drop": self.reference_top5 - self.candidate_top5,
        }


class TopK:
    """Counts right answers of one model, batch by batch in the order of the labels.

    `labels` are class indices, shape [samples, …]. Scores are [batch, …, classes] (the highest wins, of equal ones the
    first; a row with NaN is wrong), or class indices themselves, of integers shaped like the labels.
    """

    def __init__(self, labels: np.ndarray) -> None:
        if labels.dtype.kind not in "iu":
            raise DataError(f"the labels have type {labels.dtype}: give class indices, as integers")
        self._labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        self._next = self._right = self._among = self._seen = 0
        self._classes: int | None = None

    def add(self, scores: np.ndarray) -> None:
        """Add the next batch. DataError where scores and labels do not fit; names both shapes."""
        indices = scores.ndim == self._labels.ndim and scores.dtype.kind in "iu"
        shape = scores.shape if indices else scores.shape[:-1]
        labels = self._labels[self._next : self._next + shape[0]] if shape else self._labels[:0]
        if not shape or shape != labels.shape or (not indices and not scores.shape[-1]):
            raise DataError(
                f"labels {list(self._labels.shape)} do not fit the first output {list(scores.shape)} from sample"
                f" {self._next} on: give one class index a sample"
            )
        ranks = (scores != labels).astype(np.int64) if indices else _ranks(scores, labels)
        self._classes = None if indices else scores.shape[-1]
        self._next += shape[0]
        self._right += int(np.count_nonzero(ranks < 1))
        self._among += int(np.count_nonzero(ranks < K))
        self._seen += ranks.size

    def top1(self) -> float:
        """The share of right answers. DataError where labels are left over."""
        self._require_all()
        return self._right / self._seen if self._seen else 0.0

    def top5(self) -> float | None:
        """The share of samples whose label is among the best five; None where five are all, or there are no scores."""
        self._require_all()
        if self._classes is None or self._classes <= K:
            return None
        return self._among / self._seen if self._seen else 0.0

    @property
    def samples(self) -> int:
        return self._seen

    def _require_all(self) -> None:
        if self._next != len(self._labels):
            raise DataError(f"{len(self._labels)} labels for {self._next} samples: give one class index a sample")


def _ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the label's; all of them where the label is not a class or a score is NaN."""
    classes = scores.shape[-1]
    inside = (labels >= 0) & (labels < classes)
    places = np.where(inside, labels, 0).astype(np.int64)[..., None]
    own = np.take_along_axis(scores, places, axis=-1)
    before = (scores > own) | ((scores == own) & (np.arange(classes) < places))
    known = inside & ~np.isnan(scores).any(axis=-1) if scores.dtype.kind == "f" else inside
    ranks: np.ndarray = np.where(known, np.count_nonzero(before, axis=-1), classes)
    return ranks
