"""The judge `depth`: how far predicted distances are apart, relative to themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from autocast_core.errors import DataError
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    both,
    chosen_output,
    is_float,
    one_of,
    output_option,
)

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
    JudgeMetric(
        "label_delta1", "`delta1` of the converted model to labels", _EIGEN, higher_is_better=True, with_labels=True
    ),
    JudgeMetric("label_delta1_fp32", "the same of the FP32 model", _EIGEN, higher_is_better=True, with_labels=True),
    JudgeMetric(
        "label_delta1_drop", "`label_delta1_fp32` − `label_delta1`", _EIGEN, higher_is_better=False, with_labels=True
    ),
    JudgeMetric(
        "label_abs_rel", "`abs_rel` of the converted model to labels", _EIGEN, higher_is_better=False, with_labels=True
    ),
    JudgeMetric("label_abs_rel_fp32", "the same of the FP32 model", _EIGEN, higher_is_better=False, with_labels=True),
)
_LIMIT = 1.25


class DepthSums:
    """Pixels whose true depth is positive and finite; a depth that is not positive or not finite is a miss."""

    def __init__(self) -> None:
        self._pixels = self._near = 0
        self._error = 0.0

    def add(self, truth: np.ndarray, found: np.ndarray) -> None:
        """Add depths of equally many pixels, in float64."""
        known = np.isfinite(truth) & (truth > 0.0)
        truth, found = truth[known], found[known]
        usable = np.isfinite(found) & (found > 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.maximum(found / truth, truth / found)
        self._pixels += truth.size
        self._near += int(np.count_nonzero(usable & (ratio < _LIMIT)))
        # NaN and infinity are an infinite error; any other number is as wrong as it is.
        errors = np.where(np.isfinite(found), np.abs(found - truth) / truth, np.inf)
        self._error += float(errors.sum())

    def merge(self, other: DepthSums) -> None:
        """Add the pixels of `other`."""
        self._pixels += other._pixels
        self._near += other._near
        self._error += other._error

    def values(self) -> dict[str, float]:
        """`delta1` and `abs_rel`; empty without pixels."""
        if not self._pixels:
            return {}
        return {"delta1": self._near / self._pixels, "abs_rel": self._error / self._pixels}


class _Depth:
    def __init__(self, output: str, align: str) -> None:
        self._output, self._align = output, align
        self._both, self._truth, self._truth_fp32 = DepthSums(), DepthSums(), DepthSums()

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = (each.astype(np.float64) for each in both(expected, found, self._output))
        self._both.add(left, right)
        rows = labels.take(len(left))
        if rows is None:
            return
        if rows.dtype.kind not in "iuf" or rows.size != left.size:
            raise DataError(
                f"judge depth: labels of {rows.dtype} {[None, *rows.shape[1:]]} do not fit the depths"
                f" {[None, *left.shape[1:]]}; give the true depth of each pixel, 0 where it is unknown"
            )
        truth = rows.astype(np.float64).reshape(left.shape)
        for number, picture in enumerate(truth):
            self._truth_fp32.add(picture, left[number] * self._scale(picture, left[number]))
            self._truth.add(picture, right[number] * self._scale(picture, right[number]))

    def _scale(self, truth: np.ndarray, found: np.ndarray) -> float:
        """What a picture's depths are multiplied by."""
        known = np.isfinite(truth) & (truth > 0.0)
        if self._align == "none" or not known.any():
            return 1.0
        middle = float(np.median(found[known]))
        return float(np.median(truth[known])) / middle if middle > 0.0 else 1.0

    def merge(self, other: _Depth) -> None:
        self._both.merge(other._both)
        self._truth.merge(other._truth)
        self._truth_fp32.merge(other._truth_fp32)

    def result(self) -> Values:
        values, right, left = (each.values() for each in (self._both, self._truth, self._truth_fp32))
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
