"""Errors of one output, added up over batches in float64, with the same result in whatever order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast_core.evaluate.classification import AgreementSums, ClassAgreement, may_be_class_scores
from autocast_core.evaluate.sums.exact_sum import ExactSum
from autocast_core.evaluate.sums.percentiles import PERCENTILES, AbsoluteErrors

_CHUNK_ELEMENTS = 1 << 20
ERROR_METRICS = ("rel_l2", "max_abs", "mean_abs", *PERCENTILES, "cosine", "sqnr_db", "new_nonfinite", "nonfinite")
"""The fields of OutputFidelity that every output has, as metrics and gates name them."""
SQNR_LIMIT = 200.0
"""What an infinite SQNR is logged as, in dB."""


@dataclass(frozen=True)
class OutputFidelity:
    """How one output of a candidate differs from the reference, over all batches or one.

    - `rel_l2`: sqrt(sum (r - c)^2 / sum r^2);
    - `max_abs`, `mean_abs`: of |r - c|;
    - `p50_abs`, `p90_abs`, `p99_abs`, `p999_abs`: percentiles of |r - c|, within 0.4% of themselves;
    - `cosine`: of the angle between r and c;
    - `sqnr_db`: 10 log10(sum r^2 / sum (r - c)^2), at most 200 and at least -200;
    - `new_nonfinite`: elements that are finite in the reference and not in the candidate;
    - `nonfinite`: elements that are NaN or infinite in the reference;
    - `equal_share`: the share of elements that agree exactly; for integers, booleans and strings (`is_float` false) the
      real question;
    - `reference_rms`, `error_rms`: sqrt(mean r^2), sqrt(mean (r - c)^2).

    r and c run over all elements; those that are NaN or the same infinity in both do not count, and any other that is
    not finite on one side is an infinite error. Where no element counts although there are some, nothing was compared,
    and the errors are NaN.
    """

    name: str
    rel_l2: float
    max_abs: float
    mean_abs: float
    cosine: float
    sqnr_db: float
    new_nonfinite: int
    equal_share: float
    elements: int
    is_float: bool = True
    p50_abs: float = 0.0
    p90_abs: float = 0.0
    p99_abs: float = 0.0
    p999_abs: float = 0.0
    nonfinite: int = 0
    reference_rms: float = 0.0
    error_rms: float = 0.0
    classes: ClassAgreement | None = None
    """Where the output is scores of classes."""


class ErrorSums:
    """Sums over everything added so far for one output, in float64: of errors, squares and products, each over chunks
    of 2^20 elements, so that memory does not grow with the data. Sums of chunks are exact: batches may be added in any
    order, and by parts that are merged. With `class_scores` agreement on classes too."""

    def __init__(self, name: str, *, class_scores: bool = False) -> None:
        self.name = name
        self._class_scores = class_scores
        self._classes: AgreementSums | None = None
        self._is_float = True
        self._elements = self._counted = self._equal = self._new_nonfinite = self._nonfinite = 0
        self._error, self._reference, self._candidate = ExactSum(), ExactSum(), ExactSum()
        self._product, self._absolute = ExactSum(), ExactSum()
        self._largest = 0.0
        self._errors = AbsoluteErrors()

    def add(self, reference: Any, candidate: Any) -> None:
        """Add one batch: arrays of any shape and of float, integer, boolean or string type, or lists of them for
        sequences; None (an absent optional) is left out. Where the shapes differ, the error is infinite."""
        if isinstance(reference, list) or isinstance(candidate, list):
            self._add_sequence(_listed(reference), _listed(candidate))
            return
        if reference is None or candidate is None:
            return
        reference, candidate = np.asarray(reference), np.asarray(candidate)
        self._is_float = reference.dtype.kind not in "iubOUS"
        if reference.shape != candidate.shape:
            self._mismatch(max(reference.size, candidate.size))
            return
        if self._class_scores and may_be_class_scores(reference):
            self._agreement().add(reference, candidate)
        for left, right in _chunks(reference, candidate):
            if left.dtype.kind in "OUS":
                left, right = np.ones(left.shape), (left == right).astype(np.float64)
            self._add_chunk(left.astype(np.float64), right.astype(np.float64))

    def merge(self, other: ErrorSums) -> None:
        """Add what `other` has seen of the same output."""
        self._is_float = self._is_float and other._is_float
        self._elements += other._elements
        self._counted += other._counted
        self._equal += other._equal
        self._new_nonfinite += other._new_nonfinite
        self._nonfinite += other._nonfinite
        self._error.merge(other._error)
        self._reference.merge(other._reference)
        self._candidate.merge(other._candidate)
        self._product.merge(other._product)
        self._absolute.merge(other._absolute)
        self._largest = max(self._largest, other._largest)
        self._errors.merge(other._errors)
        if other._classes is not None:
            self._agreement().merge(other._classes)

    def result(self) -> OutputFidelity:
        """The metrics over everything added."""
        if self._elements and not self._counted:
            return self._nothing_compared()
        error, reference, candidate = self._error.value, self._reference.value, self._candidate.value
        rel_l2 = _ratio(error, reference)
        norms = math.sqrt(reference) * math.sqrt(candidate)
        alike = 1.0 if reference == candidate == 0.0 else 0.0
        return OutputFidelity(
            name=self.name,
            rel_l2=rel_l2,
            max_abs=self._largest,
            mean_abs=self._absolute.value / self._counted if self._counted else 0.0,
            cosine=min(1.0, max(-1.0, self._product.value / norms)) if norms else alike,
            sqnr_db=sqnr_db(rel_l2),
            new_nonfinite=self._new_nonfinite,
            equal_share=self._equal / self._elements if self._elements else 1.0,
            elements=self._elements,
            is_float=self._is_float,
            nonfinite=self._nonfinite,
            reference_rms=math.sqrt(reference / self._counted) if self._counted else 0.0,
            error_rms=math.sqrt(error / self._counted) if self._counted else 0.0,
            classes=None if self._classes is None else self._classes.result(),
            **self._percentiles(),
        )

    def _nothing_compared(self) -> OutputFidelity:
        return OutputFidelity(
            self.name,
            rel_l2=math.nan,
            max_abs=math.nan,
            mean_abs=math.nan,
            cosine=math.nan,
            sqnr_db=math.nan,
            new_nonfinite=self._new_nonfinite,
            equal_share=self._equal / self._elements,
            elements=self._elements,
            is_float=self._is_float,
            nonfinite=self._nonfinite,
            p50_abs=math.nan,
            p90_abs=math.nan,
            p99_abs=math.nan,
            p999_abs=math.nan,
        )

    def _agreement(self) -> AgreementSums:
        if self._classes is None:
            self._classes = AgreementSums()
        return self._classes

    def _percentiles(self) -> dict[str, float]:
        found = self._errors.percentiles(tuple(PERCENTILES.values()))
        return {name: min(value, self._largest) for name, value in zip(PERCENTILES, found, strict=True)}

    def _add_sequence(self, reference: list[Any], candidate: list[Any]) -> None:
        for left, right in zip(reference, candidate, strict=False):
            self.add(left, right)
        if len(reference) != len(candidate):
            self._mismatch(1)

    def _add_chunk(self, reference: np.ndarray, candidate: np.ndarray) -> None:
        finite_reference, finite_candidate = np.isfinite(reference), np.isfinite(candidate)
        self._elements += reference.size
        if not (finite_reference.all() and finite_candidate.all()):
            alike = (np.isnan(reference) & np.isnan(candidate)) | (reference == candidate)
            unlike = ~alike & ~(finite_reference & finite_candidate)
            self._new_nonfinite += int(np.count_nonzero(finite_reference & ~finite_candidate))
            self._nonfinite += int(reference.size - np.count_nonzero(finite_reference))
            self._equal += int(np.count_nonzero(alike & ~finite_reference))
            if unlike.any():
                self._infinite(int(np.count_nonzero(unlike)))
            both = finite_reference & finite_candidate
            reference, candidate = reference[both], candidate[both]
        difference = np.abs(reference - candidate)
        self._counted += reference.size
        self._equal += reference.size - int(np.count_nonzero(difference))
        self._error.add(_dot(difference, difference))
        self._reference.add(_dot(reference, reference))
        self._candidate.add(_dot(candidate, candidate))
        self._product.add(_dot(reference, candidate))
        self._absolute.add(float(difference.sum()))
        self._largest = max(self._largest, float(difference.max(initial=0.0)))
        self._errors.add(difference)

    def _mismatch(self, elements: int) -> None:
        self._elements += elements
        self._infinite(elements)

    def _infinite(self, elements: int) -> None:
        self._counted += elements
        self._errors.add_infinite(elements)
        self._largest = math.inf
        self._error.add(math.inf)
        self._absolute.add(math.inf)


def sqnr_db(rel_l2: float) -> float:
    """The signal-to-quantization-noise ratio in dB that a relative L2 error is, within +-200."""
    if rel_l2 == 0.0:
        return SQNR_LIMIT
    return max(-SQNR_LIMIT, min(SQNR_LIMIT, -20.0 * math.log10(rel_l2))) if math.isfinite(rel_l2) else -SQNR_LIMIT


def _ratio(error: float, reference: float) -> float:
    if error == 0.0:
        return 0.0
    return math.sqrt(error / reference) if reference and math.isfinite(error) else math.inf


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """The dot product of two float64 arrays of one shape."""
    # Pairwise summation; BLAS would start threads for this.
    return float((left * right).sum())


def _chunks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    flat, other = left.reshape(-1), right.reshape(-1)
    for start in range(0, flat.size, _CHUNK_ELEMENTS):
        yield flat[start : start + _CHUNK_ELEMENTS], other[start : start + _CHUNK_ELEMENTS]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
