"""How far two models agree on classes: what they choose, and how far apart their distributions are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from autocast_core.evaluate.sums.exact_sum import ExactSum
from autocast_core.evaluate.sums.field_sums import largest, merge_fields

CLASS_METRICS = ("top1_agreement", "top5_agreement", "kl")
"""The metrics of ClassAgreement, as metrics and gates name them."""
K = 5
"""The k of the top-k metrics beside top-1."""
_SMALLEST = float(np.finfo(np.float32).tiny)
_PROBABLE = 1e-3
_ROWS_ELEMENTS = 1 << 20


@dataclass(frozen=True)
class ClassAgreement:
    """Over all rows (samples, positions) of class scores:

    - `top1_agreement`: the share of rows in which both have the same class first;
    - `top5_agreement`: the mean share of the reference's best five that are among the candidate's; None for at most
      five classes. Of equal scores the first class is the better one, for both, as in ONNX's ArgMax and TopK;
    - `kl`: the mean Kullback-Leibler divergence of the candidate's distribution from the reference's, in nats. Where
      the reference's rows are probabilities, both are divided by their sums, since a sum of rounded probabilities is
      not 1; other rows become distributions by softmax. Probabilities below FP32's smallest normal number count as it.

    A row in which the candidate has NaN or a new +inf (-inf is how masks say never) agrees in nothing, at an infinite
    divergence; one with NaN in the reference does not count.
    """

    top1_agreement: float
    top5_agreement: float | None
    kl: float


def may_be_class_scores(output: np.ndarray) -> bool:
    """Whether type and shape allow scores of classes: floats of shape [..., classes], of at least two dimensions and
    two classes."""
    return output.dtype.kind not in "iubOUS" and output.ndim >= 2 and output.shape[-1] >= 2 and output.size > 0


@dataclass
class AgreementSums:
    """Sums over everything added so far for one output."""

    rows: int = 0
    first: int = 0
    alike: int = 0
    divergence: ExactSum = field(default_factory=ExactSum)
    classes: int = largest(0)

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        """Add one batch of scores, both [..., classes]."""
        classes = reference.shape[-1]
        self.classes = max(self.classes, classes)
        left, right = reference.reshape(-1, classes), candidate.reshape(-1, classes)
        step = max(1, _ROWS_ELEMENTS // classes)
        for start in range(0, len(left), step):
            self._add_rows(left[start : start + step], right[start : start + step])

    def merge(self, other: AgreementSums) -> None:
        """Add what `other` has seen of the same output."""
        merge_fields(self, other)

    def result(self) -> ClassAgreement:
        """The metrics over everything added."""
        rows = self.rows or 1
        top5 = self.alike / K / rows if self.rows else 1.0
        return ClassAgreement(
            self.first / rows if self.rows else 1.0,
            top5 if self.classes > K else None,
            max(0.0, self.divergence.value / rows),
        )

    def _add_rows(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        known = ~np.isnan(reference).any(axis=1)
        reference, candidate = reference[known].astype(np.float64), candidate[known].astype(np.float64)
        self.rows += len(reference)
        judged = ~(np.isnan(candidate) | ((candidate == np.inf) & (reference != np.inf))).any(axis=1)
        if not judged.all():
            self.divergence.add(np.inf)
        reference, candidate = reference[judged], candidate[judged]
        if not len(reference):
            return
        self.first += int(np.count_nonzero(reference.argmax(axis=1) == candidate.argmax(axis=1)))
        if reference.shape[1] > K:
            self.alike += int(np.count_nonzero(_best(reference) & _best(candidate)))
        self.divergence.add(_divergence(reference, candidate))


def _best(scores: np.ndarray) -> np.ndarray:
    """Which are the K best of each row, shape [rows, classes] as `scores`; of equal ones the first."""
    last = -np.partition(-scores, K - 1, axis=1)[:, K - 1 : K]
    better, tied = scores > last, scores == last
    room = K - np.count_nonzero(better, axis=1, keepdims=True)
    return np.asarray(better | (tied & (np.cumsum(tied, axis=1) <= room)))


def _divergence(reference: np.ndarray, candidate: np.ndarray) -> float:
    """sum over rows of sum p (log p - log q) (Kullback, Leibler, On Information and Sufficiency, 1951)."""
    if (reference >= 0.0).all() and (np.abs(reference.sum(axis=1) - 1.0) <= _PROBABLE).all():
        p, q = _normalised(reference), _normalised(candidate)
    else:
        p, q = np.maximum(_softmax(reference), _SMALLEST), np.maximum(_softmax(candidate), _SMALLEST)
    return float((p * (np.log(p) - np.log(q))).sum())


def _normalised(probabilities: np.ndarray) -> np.ndarray:
    probabilities = np.clip(probabilities, _SMALLEST, 1e300)
    return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))


def _softmax(scores: np.ndarray) -> np.ndarray:
    # Infinite scores: those of -inf have no probability, those of +inf share it.
    scores = np.clip(scores, -1e300, 1e300)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
