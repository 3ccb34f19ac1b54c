"""The judge `masks`: whether a segmentation marks the same pixels, and the true ones.

- Counts pixels, class by class, over all pictures; it does not tell instances of a class apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    against_labels,
    both,
    chosen_output,
    number,
    one_of,
    output_option,
)
from autocast_core.evaluate.sums.field_sums import merge_fields

IGNORED = 255
"""The class of pixels that do not count, as in labels of Pascal VOC and Cityscapes."""
_NONE = -1
_JACCARD = "Jaccard; as scikit-learn's jaccard_score, macro"
_DICE = "Dice; as scikit-learn's f1_score, macro"
_METRICS = (
    JudgeMetric(
        "miou",
        "mean over classes of |A ∩ B| / |A ∪ B|, A and B the pixels that both models give the class",
        _JACCARD,
        higher_is_better=True,
        by_batch=True,
    ),
    JudgeMetric("dice", "mean over classes of 2 |A ∩ B| / (|A| + |B|)", _DICE, higher_is_better=True, by_batch=True),
    JudgeMetric(
        "pixel_agreement",
        "share of pixels of the same class",
        "accuracy of pixels (Long et al., 2015)",
        higher_is_better=True,
        by_batch=True,
    ),
    *against_labels("label_miou", "`miou` of the converted model and labels", _JACCARD, higher_is_better=True),
)
_FORMS = ("classes", "binary", "map")


class PixelSums:
    """Of each class the pixels that both, that the first and that the second have."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 0), np.int64)
        self._pixels = self._same = 0

    def add(self, first: np.ndarray, second: np.ndarray) -> None:
        """Add class numbers of equally many pixels; -1 is no class, and differs from all."""
        size = max(int(first.max(initial=0)), int(second.max(initial=0))) + 1
        same = (first == second) & (first >= 0)
        sets = (first[same], first[first >= 0], second[second >= 0])
        self._grow(np.stack([np.bincount(each.reshape(-1), minlength=size) for each in sets]))
        self._pixels += first.size
        self._same += int(np.count_nonzero(same))

    def merge(self, other: PixelSums) -> None:
        """Add the pixels of `other`."""
        self._grow(other._counts)
        self._pixels += other._pixels
        self._same += other._same

    def _grow(self, counts: np.ndarray) -> None:
        size = max(self._counts.shape[1], counts.shape[1])
        both = [np.pad(each, ((0, 0), (0, size - each.shape[1]))) for each in (self._counts, counts)]
        self._counts = both[0] + both[1]

    def values(self) -> dict[str, float]:
        """`miou` and `dice` over the classes that either has, and `pixel_agreement`; empty without pixels."""
        if not self._pixels:
            return {}
        common, first, second = self._counts.astype(np.float64)
        seen = first + second > 0
        common, first, second = common[seen], first[seen], second[seen]
        if not seen.any():
            return {"pixel_agreement": self._same / self._pixels}
        return {
            "miou": float((common / (first + second - common)).mean()),
            "dice": float((2 * common / (first + second)).mean()),
            "pixel_agreement": self._same / self._pixels,
        }


@dataclass
class _Masks:
    output: str
    form: str
    threshold: float
    both: PixelSums = field(default_factory=PixelSums)
    truth: PixelSums = field(default_factory=PixelSums)
    truth_fp32: PixelSums = field(default_factory=PixelSums)

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (self._pixels(each) for each in both(expected, found, self.output))
        truth = labels.take(len(left))
        known = left >= 0
        self.both.add(left[known], right[known])
        if truth is None:
            return
        if truth.dtype.kind not in "iu" or truth.size != left.size:
            why = f" do not fit the classes {[None, *left.shape[1:]]}"
            raise MASKS.unfit(truth, f"integers of that shape, {IGNORED} where a pixel does not count", why)
        truth = truth.reshape(left.shape).astype(np.int64)
        known = (truth != IGNORED) & (truth >= 0)
        self.truth_fp32.add(truth[known], left[known])
        self.truth.add(truth[known], right[known])

    def _pixels(self, array: np.ndarray) -> np.ndarray:
        """The class number of each pixel, -1 where a score is NaN."""
        if self.form == "map":
            return array.astype(np.int64)
        if self.form == "binary":
            return np.where(np.isnan(array), _NONE, (array > self.threshold).astype(np.int64))
        return np.where(np.isnan(array).any(axis=1), _NONE, array.argmax(axis=1))

    def merge(self, other: _Masks) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        values, right, left = (each.values() for each in (self.both, self.truth, self.truth_fp32))
        if "miou" not in right or "miou" not in left:
            return values
        return {
            **values,
            "label_miou": right["miou"],
            "label_miou_fp32": left["miou"],
            "label_miou_drop": left["miou"] - right["miou"],
        }


def _form(array: np.ndarray) -> str | None:
    """What the shape says; None where it may be several or none."""
    if array.dtype.kind in "iub":
        return "map" if array.ndim in (3, 4) else None
    if array.ndim == 4:
        return "binary" if array.shape[1] == 1 else "classes"
    return "binary" if array.ndim == 3 else None


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Masks]:
    name = chosen_output(MASKS, outputs, options["output"], lambda array: _form(array) is not None)
    array = outputs[name]
    form = str(options["form"] or _form(array))
    if (form == "classes" and array.ndim != 4) or (form == "map") != (array.dtype.kind in "iub"):
        raise MASKS.unreadable({name: array}, f"form={form} does not fit")
    threshold = options["threshold"]
    if threshold is None:
        # Probabilities have no negative values, and logits of a picture are hardly ever all between 0 and 1.
        known = array[~np.isnan(array)] if form == "binary" else np.zeros(0)
        threshold = 0.5 if known.size and known.min() >= 0.0 and known.max() <= 1.0 else 0.0
    return lambda: _Masks(name, form, threshold)


MASKS = Judge(
    "masks",
    _METRICS,
    "scores [batch, classes, height, width]; scores [batch, height, width] or [batch, 1, height, width] of one class;"
    " class numbers (integers) [batch, height, width] or [batch, 1, height, width]",
    f"[pictures, height, width], integers: the class of each pixel, {IGNORED} where it does not count",
    _start,
    (
        JudgeOption(
            "form",
            "classes (the best channel wins), binary (each element by itself) or map (class numbers); without it as the"
            " shape says",
            one_of(*_FORMS),
            None,
        ),
        JudgeOption(
            "threshold",
            "over which a pixel belongs to a binary mask; without it 0.5 for probabilities, 0 for logits",
            number,
            None,
        ),
        output_option(),
    ),
)
