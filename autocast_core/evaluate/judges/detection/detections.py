"""Detections of a picture: overlaps, suppression, and matching of two sets."""

from __future__ import annotations

import numpy as np

from autocast_core.evaluate.judges.detection.box_layouts import Candidates

_MOST_CANDIDATES = 1000
"""Of a picture, the best of which suppression starts: more would not be among the detections that are kept."""
MOST = 100
"""Detections a picture, as COCO counts them (maxDets)."""


def overlaps(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `left` [n, 4] with each of `right` [m, 4], corners; [n, m], in float64.

    As COCO's: 0 where the union is empty.
    """
    left, right = left.astype(np.float64)[:, None], right.astype(np.float64)[None]
    low, high = np.maximum(left[..., :2], right[..., :2]), np.minimum(left[..., 2:], right[..., 2:])
    common = np.clip(high - low, 0.0, None).prod(axis=-1)
    union = _area(left) + _area(right) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0.0))


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None).prod(axis=-1))


def detections(candidates: Candidates, suppress_above: float | None) -> Candidates:
    """The best of `candidates`, at most MOST; with `suppress_above`, without those that overlap a better one of their
    class by more than that (greedy non-maximum suppression)."""
    found = candidates.finite
    if suppress_above is None:
        return first(found, MOST)
    found = first(found, _MOST_CANDIDATES)
    kept: list[int] = []
    left = np.ones(len(found.scores), bool)
    while left.any() and len(kept) < MOST:
        best = int(left.argmax())
        kept.append(best)
        left[best] = False
        others = np.flatnonzero(left & (found.classes == found.classes[best]))
        over = overlaps(found.boxes[best : best + 1], found.boxes[others])[0] > suppress_above
        left[others[over]] = False
    return Candidates(found.boxes[kept], found.scores[kept], found.classes[kept])


def first(found: Candidates, most: int) -> Candidates:
    """The first of `found`, at most `most`."""
    return Candidates(found.boxes[:most], found.scores[:most], found.classes[:most])


def at_least(found: Candidates, score: float) -> Candidates:
    """Those of at least that score."""
    used = found.scores >= score
    return Candidates(found.boxes[used], found.scores[used], found.classes[used])


def matched(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """At each of `thresholds` [t], for each row of `overlap` [detections, truths], the best first, the truth that it
    takes: the one of the largest overlap, of equal ones the last, that no row before took; -1 where none has at least
    the threshold. Shape [t, detections].

    As COCOeval.evaluateImg without crowds and ignored truths.
    """
    limits = np.minimum(thresholds, 1.0 - 1e-10)
    taken = np.full((len(limits), len(overlap)), -1)
    truths = overlap.shape[1]
    if not truths:
        return taken
    free = np.ones((len(limits), truths), bool)
    rows = np.arange(len(limits))
    for number, values in enumerate(overlap):
        usable = np.where(free, values, -1.0)
        places = truths - 1 - usable[:, ::-1].argmax(axis=1)
        fits = usable[rows, places] >= limits
        taken[fits, number] = places[fits]
        free[rows[fits], places[fits]] = False
    return taken
