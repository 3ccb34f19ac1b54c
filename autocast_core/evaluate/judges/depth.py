"""The judge `depth`: how far predicted distances are apart, relative to themselves."""

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
    is_float,
    one_of,
    output_option,
)
from autocast_core.evaluate.sums.field_sums import merge_fields

_EIGEN = "Eigen et al., 2014"
_METRICS = (
    JudgeMetric(
        "delta1",
        "share of pixels with max(c / r, r / c) < 1.25, r being the FP32 model's depth",
        _EIGEN,
        higher_is_better=True,
        by_batch=True,
    ),
    JudgeMetric("abs_rel", "mean of |c − r| / r", _EIGEN, higher_is_better=False, by_batch=True),
    *against_labels("label_delta1", "`delta1` of the converted model to labels", _EIGEN, higher_is_better=True),
    JudgeMetric(
        "label_abs_rel", "`abs_rel` of the converted model to labels", _EIGEN, higher_is_better=False, with_labels=True
    ),
    JudgeMetric("label_abs_rel_fp32", "the same of the FP32 model", _EIGEN, higher_is_better=False, with_labels=True),
)
_LIMIT = 1.25


@dataclass
class DepthSums:
    """Pixels whose true depth is positive and finite; a depth that is not positive or not finite is a miss."""

    pixels: int = 0
    near: int = 0
    error: float = 0.0

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Add depths of equally many pixels, in float64."""
        known = np.isfinite(truth) & (truth > 0.0)
        truth, found = truth[known], found[known]
        usable = np.isfinite(found) & (found > 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.maximum(found / truth, truth / found)
        self.pixels += truth.size
        self.near += int(np.count_nonzero(usable & (ratio < _LIMIT)))
        # NaN and infinity are an infinite error; any other number is as wrong as it is.
        errors = np.where(np.isfinite(found), np.abs(found - truth) / truth, np.inf)
        self.error += float(errors.sum())

    def merge(self, other: DepthSums) -> None:
        """Add the pixels of `other`."""
        merge_fields(self, other)

    def values(self) -> dict[str, float]:
        """`delta1` and `abs_rel`; empty without pixels."""
        if not self.pixels:
            return {}
        return {"delta1": self.near / self.pixels, "abs_rel": self.error / self.pixels}


@dataclass
class _Depth:
    output: str
    align: str
    both: DepthSums = field(default_factory=DepthSums)
    truth: DepthSums = field(default_factory=DepthSums)
    truth_fp32: DepthSums = field(default_factory=DepthSums)

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (each.astype(np.float64) for each in both(expected, found, self.output))
        self.both.add(left, right)
        rows = labels.take(len(left))
        if rows is None:
            return
        if rows.dtype.kind not in "iuf" or rows.size != left.size:
            why = f" do not fit the depths {[None, *left.shape[1:]]}"
            raise DEPTH.unfit(rows, "the true depth of each pixel, 0 where it is unknown", why)
        truth = rows.astype(np.float64).reshape(left.shape)
        for number, picture in enumerate(truth):
            self.truth_fp32.add(picture, left[number] * self._scale(picture, left[number]))
            self.truth.add(picture, right[number] * self._scale(picture, right[number]))

    def _scale(self, truth: np.ndarray, found: np.ndarray) -> float:
        """What a picture's depths are multiplied by."""
        known = np.isfinite(truth) & (truth > 0.0)
        if self.align == "none" or not known.any():
            return 1.0
        middle = float(np.median(found[known]))
        return float(np.median(truth[known])) / middle if middle > 0.0 else 1.0

    def merge(self, other: _Depth) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        values, right, left = (each.values() for each in (self.both, self.truth, self.truth_fp32))
        if not right or not left:
            return values
        return {
            **values,
            "label_delta1": right["delta1"],
            "label_delta1_fp32": left["delta1"],
            "label_delta1_drop": left["delta1"] - right["delta1"],
            "label_abs_rel": right["abs_rel"],
            "label_abs_rel_fp32": left["abs_rel"],
        }


def _is_readable(array: np.ndarray) -> bool:
    return (array.ndim == 3 or (array.ndim == 4 and 1 in array.shape[1::2])) and is_float(array)


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Depth]:
    name = chosen_output(DEPTH, outputs, options["output"], _is_readable)
    return lambda: _Depth(name, options["align"])


DEPTH = Judge(
    "depth",
    _METRICS,
    "positive depths [batch, height, width], [batch, 1, height, width] or [batch, height, width, 1]",
    "[pictures, height, width]: the true depth of each pixel in the model's unit; 0, negative or NaN where unknown",
    _start,
    (
        JudgeOption(
            "align",
            "before comparing with labels: none, or median (each picture times median(truth) / median(depth), for"
            " models that know depth up to a factor)",
            one_of("none", "median"),
            "none",
        ),
        output_option(),
    ),
    lambda names: set(names) == {"predicted_depth"},
)
