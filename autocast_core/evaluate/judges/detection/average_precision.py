"""Mean average precision as COCO defines it, added up picture by picture.

Source: Lin et al., Microsoft COCO, 2014, and COCOeval of its API: matching at ten overlaps from 0.50 to 0.95, precision
at 101 recalls, all areas, 100 detections a picture; the mean over overlaps and over classes with a truth.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from autocast_core.evaluate.judges.detection.box_layouts import Candidates
from autocast_core.evaluate.judges.detection.detections import matched, overlaps

OVERLAPS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass
class _Class:
    """Of one class, the detections' scores, whether each is right at each overlap, and how many truths there are."""

    scores: list[np.ndarray] = field(default_factory=list)
    right: list[np.ndarray] = field(default_factory=list)
    truths: int = 0


class PrecisionSums:
    """Detections and truths of all pictures added so far; pictures are added in their order."""

    def __init__(self) -> None:
        self._classes: defaultdict[int, _Class] = defaultdict(_Class)

    def add(self, found: Candidates, truth_boxes: np.ndarray, truth_classes: np.ndarray) -> None:
        """Add one picture: detections, the best first, and truths as corners [n, 4] with classes [n]."""
        for number in np.union1d(found.classes, truth_classes).tolist():
            ours, truths = found.classes == number, truth_classes == number
            overlap = overlaps(found.boxes[ours], truth_boxes[truths])
            sums = self._classes[number]
            sums.scores.append(found.scores[ours].astype(np.float64))
            sums.right.append(matched(overlap, OVERLAPS) >= 0)
            sums.truths += int(np.count_nonzero(truths))

    def merge(self, other: PrecisionSums) -> None:
        """Add the pictures of `other` after these."""
        for number, theirs in other._classes.items():
            ours = self._classes[number]
            ours.scores += theirs.scores
            ours.right += theirs.right
            ours.truths += theirs.truths

    def by_overlap(self) -> np.ndarray | None:
        """The mean average precision at each of OVERLAPS, [10]; None where there is no truth."""
        found = [_average(each) for each in self._classes.values() if each.truths]
        return np.mean(found, axis=0) if found else None


def _average(sums: _Class) -> np.ndarray:
    """The average precision of one class at each overlap."""
    scores = np.concatenate(sums.scores)
    order = np.argsort(-scores, kind="mergesort")
    right = np.concatenate(sums.right, axis=1)[:, order]
    hits = np.cumsum(right, axis=1, dtype=np.float64)
    if not hits.shape[1]:
        return np.zeros(len(OVERLAPS))
    recall = hits / sums.truths
    precision = hits / np.arange(1, hits.shape[1] + 1)
    # The best precision at this recall or a larger one.
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    found = np.zeros((len(OVERLAPS), len(_RECALLS)))
    for row, (reached, best) in enumerate(zip(recall, envelope, strict=True)):
        places = np.searchsorted(reached, _RECALLS, side="left")
        known = places < len(best)
        found[row, known] = best[places[known]]
    return np.asarray(found.mean(axis=1))
