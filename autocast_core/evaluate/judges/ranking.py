"""The judge `ranking`: whether the best items stay the best, and by how much those that do not were ahead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autocast_core.evaluate.judges.best_items import best_items
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    against_labels,
    at_least_single,
    both,
    chosen_output,
    is_float,
    output_option,
    whole_number,
)
from autocast_core.evaluate.sums.field_sums import largest, merge_fields

_OURS = "defined here, ties as ONNX's TopK"
_NDCG = "Järvelin and Kekäläinen, 2002; as scikit-learn's ndcg_score"
_METRICS = (
    JudgeMetric("top1_flips", "rows in which another item is first", _OURS, higher_is_better=False, by_batch=True),
    JudgeMetric(
        "topk_flips", "rows in which another item is among the first k", _OURS, higher_is_better=False, by_batch=True
    ),
    JudgeMetric(
        "order_flips",
        "rows in which the first k are others or in another order",
        _OURS,
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric("topk_flip_share", "`topk_flips` over rows", _OURS, higher_is_better=False),
    JudgeMetric(
        "top1_margin",
        "largest FP32 score, over rows whose first item changes, of the item that was first minus that of the one that"
        " is; 0 without a flip",
        _OURS,
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric(
        "topk_margin",
        "largest difference in FP32, over rows, of an item that left the first k and one that came in; else 0",
        _OURS,
        higher_is_better=False,
        by_batch=True,
    ),
    *against_labels(
        "ndcg",
        "mean over rows of DCG@k / ideal DCG@k, DCG@k = Σ relevance / log₂(rank + 1), of the converted model",
        _NDCG,
        higher_is_better=True,
    ),
)


@dataclass
class _Ranking:
    output: str
    k: int
    rows: int = 0
    top1: int = 0
    topk: int = 0
    order: int = 0
    graded: int = 0
    top1_margin: float = largest(0.0)
    topk_margin: float = largest(0.0)
    gain: float = 0.0
    gain_fp32: float = 0.0

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (at_least_single(each) for each in both(expected, found, self.output))
        truth = labels.take(len(left))
        left, right = (each.reshape(-1, each.shape[-1]) for each in (left, right))
        known = ~np.isnan(left).any(axis=1)
        if truth is not None:
            self._grade(left, right, truth)
        left, right = left[known], right[known]
        if not len(left):
            return
        first, second = best_items(left, self.k), best_items(right, self.k)
        came, left_out = ~_among(second, first), ~_among(first, second)
        flips = left_out.any(axis=1)
        self.rows += len(left)
        self.top1 += int(np.count_nonzero(first[:, 0] != second[:, 0]))
        self.topk += int(np.count_nonzero(flips))
        self.order += int(np.count_nonzero((first != second).any(axis=1)))
        scores = [np.take_along_axis(left, each, axis=1) for each in (first, second)]
        self.top1_margin = max(self.top1_margin, float((scores[0][:, 0] - scores[1][:, 0]).max()))
        if flips.any():
            highest = np.where(left_out, scores[0], -np.inf).max(axis=1)[flips]
            lowest = np.where(came, scores[1], np.inf).min(axis=1)[flips]
            self.topk_margin = max(self.topk_margin, float((highest - lowest).max()))

    def _grade(self, left: np.ndarray, right: np.ndarray, truth: np.ndarray) -> None:
        relevance = _relevance(truth, left.shape)
        if relevance is None:
            give = "the index of the right item of each row, or the relevance of each item"
            raise RANKING.unfit(truth, give, f" do not fit the scores {[None, left.shape[1]]}")
        self.graded += len(relevance)
        self.gain_fp32 += float(_ndcg(left, relevance, self.k).sum())
        self.gain += float(_ndcg(right, relevance, self.k).sum())

    def merge(self, other: _Ranking) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        if not self.rows:
            return {}
        values = {
            "top1_flips": float(self.top1),
            "topk_flips": float(self.topk),
            "order_flips": float(self.order),
            "topk_flip_share": self.topk / self.rows,
            "top1_margin": self.top1_margin,
            "topk_margin": self.topk_margin,
        }
        if self.graded:
            candidate, reference = self.gain / self.graded, self.gain_fp32 / self.graded
            values |= {"ndcg": candidate, "ndcg_fp32": reference, "ndcg_drop": reference - candidate}
        return values


def _among(items: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each of `items` [rows, k] is one of its row of `others` [rows, k]."""
    return np.asarray((items[:, :, None] == others[:, None]).any(axis=2))


def _relevance(truth: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The relevance of each item, [rows, items]; None where the labels do not fit."""
    if truth.dtype.kind in "iu" and truth.size == shape[0] and shape[1] > 1:
        items = truth.reshape(-1)
        if (items < 0).any() or (items >= shape[1]).any():
            return None
        return _one_hot(items, shape[1])
    if truth.size == shape[0] * shape[1] and truth.dtype.kind in "iuf":
        return truth.reshape(shape).astype(np.float64)
    return None


def _one_hot(items: np.ndarray, count: int) -> np.ndarray:
    found = np.zeros((len(items), count))
    found[np.arange(len(items)), items] = 1.0
    return found


def _ndcg(scores: np.ndarray, relevance: np.ndarray, k: int) -> np.ndarray:
    """The normalised discounted cumulative gain of each row; 0 for one without a relevant item."""
    discount = 1.0 / np.log2(np.arange(2, min(k, scores.shape[1]) + 2))
    gained = np.take_along_axis(relevance, best_items(scores, k), axis=1) @ discount
    ideal = -np.sort(-relevance, axis=1)[:, :k] @ discount
    return np.asarray(np.divide(gained, ideal, out=np.zeros_like(gained), where=ideal > 0.0))


def _is_readable(array: np.ndarray) -> bool:
    return array.ndim >= 2 and array.shape[-1] >= 2 and is_float(array)


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Ranking]:
    name = chosen_output(RANKING, outputs, options["output"], _is_readable)
    return lambda: _Ranking(name, options["k"])


RANKING = Judge(
    "ranking",
    _METRICS,
    "scores [batch, …, items]",
    "[samples, …], integers: the index of the right item; or [samples, …, items]: the relevance of each",
    _start,
    (JudgeOption("k", "how many items count as the best", whole_number(1), 5), output_option()),
)
