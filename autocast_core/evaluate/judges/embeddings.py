"""The judge `embeddings`: whether vectors keep their direction, and samples their neighbours.

- Keeps the vectors of all samples in memory, in FP32: which are nearest is a question about all of them.
- Judges one vector a sample; it does not pool the positions of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.evaluate.judges.best_items import best_items
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    LabelRows,
    Outputs,
    Values,
    both,
    chosen_output,
    is_float,
    output_option,
)
from autocast_core.evaluate.sums.field_sums import merge_fields

KS = (1, 5, 10)
_ROWS = 512
_COSINE = "cosine similarity, as scikit-learn's cosine_similarity"
_NEIGHBOURS = "recall@k (Jégou et al., 2011), as scikit-learn's NearestNeighbors by cosine"
_SAME = "recall@k (Oh Song et al., 2016)"
_METRICS = (
    JudgeMetric(
        "pair_cosine",
        "least cosine over samples of the FP32 model's vector and the converted model's",
        _COSINE,
        higher_is_better=True,
        by_batch=True,
    ),
    JudgeMetric("mean_pair_cosine", "mean of the same", _COSINE, higher_is_better=True, by_batch=True),
    JudgeMetric(
        "similarity_shift",
        "largest |cos(cᵢ, cⱼ) − cos(rᵢ, rⱼ)| over pairs of samples, r being FP32's vectors",
        _COSINE,
        higher_is_better=False,
    ),
    *(
        JudgeMetric(
            f"recall_at_{k}",
            f"mean over samples of the share of its {k} nearest others in FP32 that are among its {k} nearest others"
            " in the converted model, by cosine",
            _NEIGHBOURS,
            higher_is_better=True,
        )
        for k in KS
    ),
    *(
        metric
        for k in KS
        for metric in (
            JudgeMetric(
                f"label_recall_at_{k}",
                f"share of samples with one of the same label among their {k} nearest others, in the converted model",
                _SAME,
                higher_is_better=True,
                with_labels=True,
            ),
            JudgeMetric(
                f"label_recall_at_{k}_fp32", "the same in FP32", _SAME, higher_is_better=True, with_labels=True
            ),
        )
    ),
)


@dataclass
class _Embeddings:
    output: str
    left: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = both(expected, found, self.output)
        truth = labels.take(len(left))
        self.left.append(left.astype(np.float32))
        self.right.append(right.astype(np.float32))
        if truth is not None:
            if truth.dtype.kind not in "iu" or truth.size != len(left):
                raise EMBEDDINGS.unfit(truth, "one integer a sample, the same for samples that belong together")
            self.labels.append(truth.reshape(-1))

    def merge(self, other: _Embeddings) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        if not self.left or not sum(map(len, self.left)):
            return {}
        left, right = (_directions(np.concatenate(each)) for each in (self.left, self.right))
        # A vector of the candidate's with NaN points nowhere.
        cosines = np.where(np.isnan(right).any(axis=1), -1.0, np.clip((left * right).sum(axis=1), -1.0, 1.0))
        values = {"pair_cosine": float(cosines.min()), "mean_pair_cosine": float(cosines.mean())}
        labels = np.concatenate(self.labels) if self.labels else None
        return values | _neighbourhood(left, right, labels)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, in float64; of zeros where there is no direction."""
    vectors = vectors.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, norms, out=vectors.copy(), where=norms > 0.0))


def _neighbourhood(left: np.ndarray, right: np.ndarray, labels: np.ndarray | None) -> dict[str, float]:
    """What concerns pairs of samples, a block of rows at a time."""
    samples = len(left)
    ks = [k for k in KS if k < samples]
    shift, common = 0.0, dict.fromkeys(ks, 0.0)
    found: dict[str, float] = {}
    for rows, ours, theirs in _blocks(left, right):
        others = np.arange(samples)[None] != rows[:, None]
        difference = np.abs(ours - theirs)[others]
        if difference.size:
            shift = max(shift, float(np.where(np.isnan(difference), 2.0, difference).max()))
        nearest_of = [_nearest(each, rows, max(ks)) for each in (ours, theirs)] if ks else []
        usable = ~np.isnan(right[rows]).any(axis=1)
        for k in ks:
            first, second = (each[:, :k] for each in nearest_of)
            shared = (first[:, :, None] == second[:, None]).any(axis=2).sum(axis=1)
            common[k] += float(shared[usable].sum()) / k
            if labels is not None:
                for name, nearest, of in (("_fp32", first, left), ("", second, right)):
                    hit = (labels[nearest] == labels[rows][:, None]).any(axis=1) & ~np.isnan(of[rows]).any(axis=1)
                    key = f"label_recall_at_{k}{name}"
                    found[key] = found.get(key, 0.0) + float(np.count_nonzero(hit))
    values = {f"recall_at_{k}": total / samples for k, total in common.items()}
    values |= {name: total / samples for name, total in found.items()}
    return {"similarity_shift": shift, **values} if samples > 1 else values


def _blocks(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, and their cosines to all samples in both models."""
    for start in range(0, len(left), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(left)))
        yield rows, left[rows] @ left.T, right[rows] @ right.T


def _nearest(cosines: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """The `k` most similar others of each row, of equal ones the first."""
    known = np.where(np.isnan(cosines), -np.inf, cosines)
    known[np.arange(len(rows)), rows] = -np.inf
    return best_items(known, k)


def _is_readable(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.shape[1] >= 2 and is_float(array)


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Embeddings]:
    name = chosen_output(EMBEDDINGS, outputs, options["output"], _is_readable)
    return lambda: _Embeddings(name)


EMBEDDINGS = Judge(
    "embeddings",
    _METRICS,
    "vectors [batch, features]",
    "[samples], integers: the same for samples that belong together",
    _start,
    (output_option(),),
)
