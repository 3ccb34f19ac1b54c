"""Accuracy against labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autocast_core.errors import DataError


@dataclass(frozen=True)
class TaskMetrics:
    """Top-1 accuracy of the reference and of the candidate on the same samples, each from 0 to 1."""

    reference_top1: float
    candidate_top1: float
    samples: int

    @property
    def drop(self) -> float:
        """How much accuracy the candidate loses; negative where it gains."""
        return self.reference_top1 - self.candidate_top1

    @property
    def ratio(self) -> float:
        """The candidate's accuracy over the reference's; 1 where the reference has none to lose."""
        return self.candidate_top1 / self.reference_top1 if self.reference_top1 else 1.0

    def metrics(self, prefix: str = "task") -> dict[str, float]:
        """By the names that runs are logged under."""
        return {
            f"{prefix}.top1": self.candidate_top1,
            f"{prefix}.top1_fp32": self.reference_top1,
            f"{prefix}.top1_drop": self.drop,
            f"{prefix}.metric_ratio": self.ratio,
        }


class Top1:
    """Counts right answers of one model, batch by batch in the order of the labels.

    `labels` are class indices, shape [samples, …]. Scores are [batch, …, classes] (the highest wins; a row with NaN is
    wrong), or class indices themselves, of integers shaped like the labels.
    """

    def __init__(self, labels: np.ndarray) -> None:
        if labels.dtype.kind not in "iu":
            raise DataError(f"the labels have type {labels.dtype}: give class indices, as integers")
        self._labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        self._next = self._right = self._seen = 0

    def add(self, scores: np.ndarray) -> None:
        """Add the next batch. DataError where scores and labels do not fit; names both shapes."""
        chosen = _chosen(scores, self._labels.ndim)
        labels = self._labels[self._next : self._next + len(chosen)] if chosen.ndim else self._labels[:0]
        if chosen.shape != labels.shape or not chosen.ndim:
            raise DataError(
                f"labels {list(self._labels.shape)} do not fit the first output {list(scores.shape)} from sample"
                f" {self._next} on: give one class index a sample"
            )
        self._next += len(chosen)
        self._right += int(np.count_nonzero(chosen == labels))
        self._seen += chosen.size

    def accuracy(self) -> float:
        """The share of right answers. DataError where labels are left over."""
        if self._next != len(self._labels):
            raise DataError(f"{len(self._labels)} labels for {self._next} samples: give one class index a sample")
        return self._right / self._seen if self._seen else 0.0

    @property
    def samples(self) -> int:
        return self._seen


def _chosen(scores: np.ndarray, rank: int) -> np.ndarray:
    if scores.ndim == rank and scores.dtype.kind in "iu":
        return scores
    if scores.ndim == 0 or scores.shape[-1] == 0:
        return np.zeros(())
    chosen = np.argmax(scores, axis=-1)
    if scores.dtype.kind in "iub":
        return chosen
    return np.where(np.isnan(scores).any(axis=-1), -1, chosen)
