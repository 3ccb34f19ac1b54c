"""Reading boxes out of detectors' outputs, in the forms in which detectors are commonly exported.

- Every form becomes, for each picture, corners [x1, y1, x2, y2], a score and a class for each candidate.
- Does not suppress overlapping boxes (detections.py does) and does not scale boxes to pixels: the overlap of two boxes
  does not depend on their unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from autocast_core.evaluate.judges.judge import Outputs, at_least_single

_LOWEST = 1e-3
"""Score below which a candidate is no detection, as in the evaluation of YOLO models."""
_MOST_END_TO_END = 1000
"""Candidates a picture of a detector that has selected them already; raw outputs have thousands."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of one picture: `boxes` [n, 4] as corners, `scores` [n], `classes` [n]."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray

    @property
    def finite(self) -> Candidates:
        """Those of finite coordinates and a score of at least 0.001, the best first; of equal ones the first."""
        used = np.isfinite(self.boxes).all(axis=1) & (self.scores >= _LOWEST)
        boxes, scores, classes = self.boxes[used], self.scores[used], self.classes[used]
        order = np.argsort(-scores, kind="stable")
        return Candidates(boxes[order], scores[order], classes[order])


Pictures = list[Candidates]


@dataclass(frozen=True)
class BoxLayout:
    """A form of outputs: `shapes` says it in words, `read` gives the candidates of each picture, `suppress` whether
    overlapping boxes are still to be suppressed. `names` are output names that say it beyond doubt; `fits` looks at
    the shapes of the outputs."""

    shapes: str
    read: Callable[[Outputs], Pictures]
    suppress: bool
    names: frozenset[str] = frozenset()
    fits: Callable[[Outputs], bool] = lambda outputs: False
    is_flat: bool = False
    """Whether a batch's pictures stand in one list, so that a picture without boxes is not seen."""
    columns: tuple[int, int] | None = None
    """Of outputs with a column a class: their axis, and how many columns come before."""


def _only(outputs: Outputs) -> np.ndarray:
    return next(iter(outputs.values()))


def _corners(boxes: np.ndarray) -> np.ndarray:
    """From centre and size to corners."""
    centre, half = boxes[..., :2], boxes[..., 2:4] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def _best_class(boxes: np.ndarray, scores: np.ndarray) -> Pictures:
    """Each candidate under its best class; `boxes` [b, n, 4] as corners, `scores` [b, n, classes]."""
    # NaN is never best: argmax would take it.
    known = np.where(np.isnan(scores), -np.inf, scores)
    classes = known.argmax(axis=-1)
    best = np.take_along_axis(known, classes[..., None], axis=-1)[..., 0]
    return [Candidates(*each) for each in zip(boxes, best, classes, strict=True)]


def _yolov5(outputs: Outputs) -> Pictures:
    rows = at_least_single(_only(outputs))
    return _best_class(_corners(rows[..., :4]), rows[..., 4:5] * rows[..., 5:])


def _yolov8(outputs: Outputs) -> Pictures:
    rows = at_least_single(_only(outputs)).transpose(0, 2, 1)
    return _best_class(_corners(rows[..., :4]), rows[..., 4:])


def _end_to_end(outputs: Outputs) -> Pictures:
    rows = at_least_single(_only(outputs))
    return [Candidates(each[:, :4], each[:, 4], _classes(each[:, 5])) for each in rows]


def _flat(outputs: Outputs) -> Pictures:
    rows = at_least_single(_only(outputs))
    numbers = rows[:, 0]
    count = int(numbers.max(initial=0)) + 1
    pictures = [rows[numbers == number] for number in range(count)]
    return [Candidates(each[:, 1:5], each[:, 6], _classes(each[:, 5])) for each in pictures]


def _efficient_nms(outputs: Outputs) -> Pictures:
    counts = outputs["num_dets"].reshape(-1)
    columns = [outputs[name] for name in ("det_boxes", "det_scores", "det_classes")]
    return [
        Candidates(at_least_single(boxes[:n]), at_least_single(scores[:n]), _classes(classes[:n]))
        for n, boxes, scores, classes in zip(counts.astype(int), *columns, strict=True)
    ]


def _tensorflow(outputs: Outputs) -> Pictures:
    columns = [outputs[f"detection_{name}"] for name in ("boxes", "scores", "classes")]
    # [y1, x1, y2, x2]: overlaps are the same, but labels are not.
    return [
        Candidates(at_least_single(boxes)[:, [1, 0, 3, 2]], at_least_single(scores), _classes(classes))
        for boxes, scores, classes in zip(*columns, strict=True)
    ]


def _selected(outputs: Outputs) -> Pictures:
    boxes, scores, labels = (outputs[name] for name in ("boxes", "scores", "labels"))
    if boxes.ndim == 2:
        boxes, scores, labels = boxes[None], scores[None], labels[None]
    return [
        Candidates(at_least_single(each), at_least_single(score), _classes(label))
        for each, score, label in zip(boxes, scores, labels, strict=True)
    ]


def _ssd(outputs: Outputs) -> Pictures:
    """Scores with the background first, which is no class to find."""
    return _best_class(at_least_single(outputs["boxes"]), at_least_single(outputs["scores"])[..., 1:])


def _queries(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Corners and logits of a DETR-like model."""
    boxes = next(array for name, array in outputs.items() if name in ("pred_boxes", "dets"))
    logits = next(array for name, array in outputs.items() if name in ("logits", "pred_logits", "labels"))
    return _corners(at_least_single(boxes)), at_least_single(logits)


def _detr(outputs: Outputs) -> Pictures:
    boxes, logits = _queries(outputs)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return _best_class(boxes, (shifted / shifted.sum(axis=-1, keepdims=True))[..., :-1])


def _rtdetr(outputs: Outputs) -> Pictures:
    boxes, logits = _queries(outputs)
    return _best_class(boxes, 1.0 / (1.0 + np.exp(-np.clip(logits, -80.0, 80.0))))


def _classes(numbers: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(numbers.astype(np.float64), nan=-1.0, posinf=-1.0, neginf=-1.0)
    return known.round().astype(np.int64)


def _is_one(outputs: Outputs, rank: int) -> bool:
    return len(outputs) == 1 and _only(outputs).ndim == rank and _only(outputs).dtype.kind not in "iubOUS"


def _is_end_to_end(outputs: Outputs) -> bool:
    return _is_one(outputs, 3) and _only(outputs).shape[2] == 6 and _only(outputs).shape[1] <= _MOST_END_TO_END


def _is_yolov5(outputs: Outputs) -> bool:
    return _is_one(outputs, 3) and _only(outputs).shape[2] >= 6 and _only(outputs).shape[1] > _MOST_END_TO_END


def _is_yolov8(outputs: Outputs) -> bool:
    return _is_one(outputs, 3) and 5 <= _only(outputs).shape[1] < _only(outputs).shape[2] > 6


def _is_flat(outputs: Outputs) -> bool:
    return _is_one(outputs, 2) and _only(outputs).shape[1] == 7


def _is_ssd(outputs: Outputs) -> bool:
    if set(outputs) != {"boxes", "scores"}:
        return False
    boxes, scores = outputs["boxes"], outputs["scores"]
    return boxes.ndim == scores.ndim == 3 and boxes.shape[2] == 4 and scores.shape[2] >= 2


def _is_selected(outputs: Outputs) -> bool:
    names = {"boxes", "scores", "labels"}
    return names <= set(outputs) and outputs["boxes"].shape[:-1] == outputs["scores"].shape == outputs["labels"].shape


BOX_LAYOUTS: Mapping[str, BoxLayout] = MappingProxyType(
    {
        "yolov5": BoxLayout(
            "[batch, candidates, 5 + classes] (centre, size, objectness, class scores)",
            _yolov5,
            True,
            fits=_is_yolov5,
            columns=(2, 5),
        ),
        "yolov8": BoxLayout(
            "[batch, 4 + classes, candidates] (centre, size, class scores)",
            _yolov8,
            True,
            fits=_is_yolov8,
            columns=(1, 4),
        ),
        "end_to_end": BoxLayout(
            "[batch, boxes, 6] (corners, score, class), as YOLOv10 and exports with NMS",
            _end_to_end,
            False,
            fits=_is_end_to_end,
        ),
        "flat": BoxLayout("[boxes, 7] (picture, corners, class, score)", _flat, False, fits=_is_flat, is_flat=True),
        "efficient_nms": BoxLayout(
            "num_dets, det_boxes, det_scores, det_classes (EfficientNMS)",
            _efficient_nms,
            False,
            frozenset({"num_dets", "det_boxes", "det_scores", "det_classes"}),
        ),
        "tensorflow": BoxLayout(
            "detection_boxes, detection_scores, detection_classes (TensorFlow's SSD)",
            _tensorflow,
            False,
            frozenset({"detection_boxes", "detection_scores", "detection_classes"}),
        ),
        "selected": BoxLayout(
            "boxes [(batch,) n, 4] as corners, scores and labels [(batch,) n] (torchvision, RT-DETR with its"
            " postprocessor)",
            _selected,
            False,
            frozenset({"boxes", "scores", "labels"}),
            _is_selected,
        ),
        "ssd": BoxLayout(
            "boxes [batch, anchors, 4] as corners, scores [batch, anchors, 1 + classes] with the background first",
            _ssd,
            True,
            fits=_is_ssd,
        ),
        "detr": BoxLayout(
            "pred_boxes [batch, queries, 4], logits or pred_logits [batch, queries, classes + 1] under softmax,"
            " the last class being none",
            _detr,
            False,
        ),
        "rtdetr": BoxLayout(
            "pred_boxes or dets [batch, queries, 4], logits, pred_logits or labels [batch, queries, classes] under"
            " sigmoid",
            _rtdetr,
            False,
        ),
    }
)
"""The forms, by the name that the option `layout` gives them."""


def fitting_layouts(outputs: Outputs) -> list[str]:
    """The layouts that the names and shapes of `outputs` allow; one where there is no doubt."""
    said = [name for name, layout in BOX_LAYOUTS.items() if layout.names and layout.names <= set(outputs)]
    if said:
        return [name for name in said if name != "selected" or _is_selected(outputs)]
    if {"logits", "pred_logits"} & set(outputs) and "pred_boxes" in outputs:
        return ["detr", "rtdetr"]
    if {"dets", "labels"} <= set(outputs):
        return ["rtdetr"]
    return [name for name, layout in BOX_LAYOUTS.items() if layout.fits(outputs)]
