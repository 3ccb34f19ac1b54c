"""The judge `boxes`: whether a detector finds the same boxes, and as many of the true ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate.judges.detection.average_precision import PrecisionSums
from autocast_core.evaluate.judges.detection.box_layouts import (
    BOX_LAYOUTS,
    BoxLayout,
    Candidates,
    Pictures,
    fitting_layouts,
)
from autocast_core.evaluate.judges.detection.detections import at_least, detections, matched, overlaps
from autocast_core.evaluate.judges.judge import (
    Judge,
    JudgeMetric,
    JudgeOption,
    LabelRows,
    Outputs,
    Values,
    chosen_output,
    is_float,
    one_of,
    share,
    whole_number,
)
from autocast_core.evaluate.sums.field_sums import largest, merge_fields

_COCO = "COCO, COCOeval"
_OURS = "defined here, matching as COCOeval"
_METRICS = (
    JudgeMetric(
        "map_ratio",
        "mAP of the converted model over mAP of the FP32 model: on labels where there are any, else `matched_map`",
        _COCO,
        higher_is_better=True,
    ),
    JudgeMetric(
        "matched_map",
        "mAP: mean over classes and overlaps (IoU) t = 0.50, 0.55, …, 0.95 of the average precision, the mean over"
        " recalls r = 0, 0.01, …, 1 of the best precision at a recall of at least r; the truth are FP32's boxes of at"
        " least `score`",
        _COCO,
        higher_is_better=True,
    ),
    JudgeMetric("matched_map50", "the same at t = 0.50 alone", _COCO, higher_is_better=True),
    JudgeMetric(
        "lost",
        "boxes of at least `score` in FP32 to which no such box of the same class and an overlap of at least `overlap`"
        " belongs in the converted model",
        _OURS,
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric(
        "new", "boxes of the converted model without one in FP32", _OURS, higher_is_better=False, by_batch=True
    ),
    JudgeMetric("lost_share", "`lost` over the FP32 model's boxes", _OURS, higher_is_better=False),
    JudgeMetric("new_share", "`new` over the FP32 model's boxes", _OURS, higher_is_better=False),
    JudgeMetric(
        "lost_score",
        "the largest FP32 score of a lost box; near `score`, it was a near tie",
        _OURS,
        higher_is_better=False,
    ),
    JudgeMetric(
        "class_flips",
        "of the lost boxes those that a new one overlaps by at least `overlap`: the same place with another class",
        _OURS,
        higher_is_better=False,
        by_batch=True,
    ),
    JudgeMetric("mean_iou", "mean overlap (IoU) of the boxes that belong together", _OURS, higher_is_better=True),
    JudgeMetric("count", "the FP32 model's boxes of at least `score`", _OURS, higher_is_better=True),
    JudgeMetric(
        "map", "mAP of the converted model, labels being the truth", _COCO, higher_is_better=True, with_labels=True
    ),
    JudgeMetric("map_fp32", "mAP of the FP32 model", _COCO, higher_is_better=True, with_labels=True),
    JudgeMetric("map_drop", "`map_fp32` − `map`", _COCO, higher_is_better=False, with_labels=True),
    JudgeMetric("map50", "mAP of the converted model at t = 0.50", _COCO, higher_is_better=True, with_labels=True),
    JudgeMetric("map50_fp32", "the same of the FP32 model", _COCO, higher_is_better=True, with_labels=True),
)
_OPTIONS = (
    JudgeOption("layout", f"how outputs are read: {', '.join(BOX_LAYOUTS)}", one_of(*BOX_LAYOUTS), None),
    JudgeOption("score", "least score of a box that a user sees", share, 0.25),
    JudgeOption("overlap", "least overlap (IoU) of boxes that belong together", share, 0.5),
    JudgeOption("nms", "overlap over which the worse box is suppressed, in layouts without suppression", share, 0.45),
    JudgeOption(
        "classes", "of yolov5 and yolov8: how many classes there are, where other columns follow", whole_number(1), None
    ),
    JudgeOption("output", "the output that is judged, where a YOLO model has several", str, None),
)


@dataclass(frozen=True)
class _Reader:
    layout: BoxLayout
    score: float
    overlap: float
    nms: float
    classes: int | None
    output: str | None

    def pictures(self, outputs: Outputs) -> Pictures:
        """The detections of each picture of a batch."""
        used = _short_names(outputs) if self.output is None else {self.output: outputs[self.output]}
        if self.classes is not None and self.layout.columns is not None:
            axis, before = self.layout.columns
            columns = np.arange(before + self.classes)
            used = {name: np.take(array, columns, axis=axis) for name, array in used.items()}
        return [detections(each, self.nms if self.layout.suppress else None) for each in self.layout.read(used)]


@dataclass
class _Boxes:
    """Detections of both models, compared picture by picture."""

    reader: _Reader
    matched: PrecisionSums = field(default_factory=PrecisionSums)
    truth: PrecisionSums = field(default_factory=PrecisionSums)
    truth_fp32: PrecisionSums = field(default_factory=PrecisionSums)
    boxes: int = 0
    lost: int = 0
    new: int = 0
    flips: int = 0
    pairs: int = 0
    overlap: float = 0.0
    lost_score: float = largest(0.0)
    has_labels: bool = False

    def add(self, expected: Outputs, found: Outputs, labels: LabelRows) -> None:
        left, right = self.reader.pictures(expected), self.reader.pictures(found)
        empty = Candidates(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64))
        count = max(len(left), len(right))
        left, right = (each + [empty] * (count - len(each)) for each in (left, right))
        if self.reader.layout.is_flat and labels.exist and count > 1:
            raise DataError("judge boxes: where the boxes of all pictures stand in one list, labels need batch_size: 1")
        truths = labels.take(count)
        for number, (ours, theirs) in enumerate(zip(left, right, strict=True)):
            self._compare(ours, theirs)
            if truths is not None:
                self._add_truth(ours, theirs, truths[number])

    def _compare(self, expected: Candidates, found: Candidates) -> None:
        wanted, seen = (at_least(each, self.reader.score) for each in (expected, found))
        self.matched.add(found, wanted.boxes, wanted.classes)
        overlap = overlaps(seen.boxes, wanted.boxes)
        same = seen.classes[:, None] == wanted.classes[None]
        at = np.array([self.reader.overlap])
        pairs = matched(np.where(same, overlap, -1.0), at)[0]
        lost = np.setdiff1d(np.arange(len(wanted.scores)), pairs)
        new = np.flatnonzero(pairs < 0)
        kept = np.flatnonzero(pairs >= 0)
        self.boxes += len(wanted.scores)
        self.lost += len(lost)
        self.new += len(new)
        self.flips += int(np.count_nonzero(matched(overlap[np.ix_(new, lost)], at) >= 0))
        self.pairs += len(kept)
        self.overlap += float(overlap[kept, pairs[kept]].sum())
        self.lost_score = max(self.lost_score, float(wanted.scores[lost].max(initial=0.0)))

    def _add_truth(self, expected: Candidates, found: Candidates, truth: np.ndarray) -> None:
        if truth.ndim != 2 or truth.shape[1] != 5:
            raise DataError(
                f"judge boxes: labels of shape {[None, *truth.shape]}; give [pictures, boxes, 5]: x1, y1, x2, y2,"
                " class, with class -1 in rows that only fill up"
            )
        real = truth[truth[:, 4] >= 0]
        self.has_labels = True
        for sums, detected in ((self.truth_fp32, expected), (self.truth, found)):
            sums.add(detected, real[:, :4], real[:, 4].round().astype(np.int64))

    def merge(self, other: _Boxes) -> None:
        merge_fields(self, other)

    def result(self) -> Values:
        counts = {"lost": self.lost, "new": self.new, "class_flips": self.flips, "count": self.boxes}
        values = {name: float(count) for name, count in counts.items()} | {"lost_score": self.lost_score}
        if self.pairs:
            values["mean_iou"] = self.overlap / self.pairs
        reached = self.matched.by_overlap()
        if reached is not None:
            values |= {"lost_share": self.lost / self.boxes, "new_share": self.new / self.boxes}
            values |= {"matched_map": float(reached.mean()), "matched_map50": float(reached[0])}
            values["map_ratio"] = values["matched_map"]
        return values | self._labelled() if self.has_labels else values

    def _labelled(self) -> dict[str, float]:
        reference, candidate = self.truth_fp32.by_overlap(), self.truth.by_overlap()
        if reference is None or candidate is None:
            return {}
        left, right = float(reference.mean()), float(candidate.mean())
        return {
            "map": right,
            "map_fp32": left,
            "map_drop": left - right,
            "map_ratio": right / left if left else 1.0,
            "map50": float(candidate[0]),
            "map50_fp32": float(reference[0]),
        }


def _short_names(outputs: Outputs) -> Outputs:
    """The outputs of a chain's stages, STAGE.OUTPUT, by their own names where these differ."""
    short = {name.rpartition(".")[2]: array for name, array in outputs.items()}
    return short if len(short) == len(outputs) else outputs


def _start(outputs: Outputs, options: Mapping[str, Any]) -> Callable[[], _Boxes]:
    name = options["output"]
    used = _short_names(outputs) if name is None else {chosen_output(BOXES, outputs, name, is_float): outputs[name]}
    layout = options["layout"]
    if layout is None:
        fitting = fitting_layouts(used)
        if len(fitting) != 1:
            may_be = f"they may be {' or '.join(fitting)}" if fitting else "of no known form"
            raise BOXES.unreadable(outputs, f"{may_be}: say which, as in boxes:layout={(fitting or ['yolov8'])[0]}")
        layout = fitting[0]
    of = BOX_LAYOUTS[layout]
    if options["classes"] is not None and of.columns is None:
        raise ConfigError(f"judge boxes: classes is for the layouts yolov5 and yolov8, not {layout}: omit it")
    if of.columns is not None and len(used) > 1:
        raise BOXES.unreadable(outputs, f"{layout} has one output: say which, as in boxes:output={next(iter(used))}")
    reader = _Reader(of, options["score"], options["overlap"], options["nms"], options["classes"], name)
    try:
        reader.pictures(outputs)
    except (IndexError, KeyError, ValueError, StopIteration, TypeError) as error:
        raise BOXES.unreadable(outputs, f"not {layout}") from error
    return lambda: _Boxes(reader)


def _is_sure(names: Collection[str]) -> bool:
    return any(layout.names and layout.names <= set(names) for layout in BOX_LAYOUTS.values())


BOXES = Judge(
    "boxes",
    _METRICS,
    "; ".join(f"{name}: {layout.shapes}" for name, layout in BOX_LAYOUTS.items()),
    "[pictures, boxes, 5]: x1, y1, x2, y2, class in the model's own units; class −1 in rows that only fill up",
    _start,
    _OPTIONS,
    _is_sure,
)
