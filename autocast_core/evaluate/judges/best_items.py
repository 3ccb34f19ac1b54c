"""The best items of each row of scores."""

from __future__ import annotations

import numpy as np


def best_items(scores: np.ndarray, k: int) -> np.ndarray:
    """The indices of the `k` largest of each row of `scores` [rows, items], in their order, [rows, min(k, items)].

    Of equal ones the first is the better one, as in ONNX's TopK; NaN is worst.
    """
    known = np.where(np.isnan(scores), -np.inf, scores)
    k = min(k, known.shape[1])
    last = -np.partition(-known, k - 1, axis=1)[:, k - 1 : k]
    better, tied = known > last, known == last
    room = k - np.count_nonzero(better, axis=1, keepdims=True)
    chosen = better | (tied & (np.cumsum(tied, axis=1) <= room))
    items = np.nonzero(chosen)[1].reshape(len(known), k)
    order = np.argsort(-np.take_along_axis(known, items, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(items, order, axis=1))
