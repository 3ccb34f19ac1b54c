"""The forms of detectors' outputs: the same three boxes in each of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from autocast_core.evaluate.judges.detection.box_layouts import BOX_LAYOUTS, fitting_layouts
from autocast_core.evaluate.judges.detection.detections import detections
from tests.autocast_core.evaluate.judges.judging import values

BOXES = np.array([[10, 10, 50, 40], [100, 20, 130, 90], [60, 60, 90, 95]], np.float32)
SCORES = np.array([0.9, 0.6, 0.3], np.float32)
CLASSES = np.array([2, 0, 1])
COUNT = 3


def centred() -> np.ndarray:
    return np.concatenate([(BOXES[:, :2] + BOXES[:, 2:]) / 2, BOXES[:, 2:] - BOXES[:, :2]], axis=1)


def one_hot(columns: int, first: int = 0) -> np.ndarray:
    found = np.zeros((3, columns), np.float32)
    found[np.arange(3), CLASSES + first] = SCORES
    return found


def padded(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])


def logit(share: np.ndarray) -> np.ndarray:
    clipped = np.clip(share, 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def outputs(layout: str) -> dict[str, np.ndarray]:
    columns = [BOXES, SCORES[:, None], CLASSES[:, None].astype(np.float32)]
    objectness = np.full((3, 1), 0.5, np.float32)
    yolov5 = padded(np.concatenate([centred(), objectness, 2 * one_hot(COUNT)], axis=1), 1200)[None]
    softmax = np.log(np.concatenate([one_hot(COUNT), 1 - SCORES[:, None]], axis=1) + 1e-9)
    return {
        "yolov5": lambda: {"output": yolov5},
        "yolov8": lambda: {"output0": padded(np.concatenate([centred(), one_hot(COUNT)], axis=1), 50).T[None]},
        "end_to_end": lambda: {"output0": padded(np.concatenate(columns, axis=1), 300)[None]},
        "flat": lambda: {"output": np.concatenate([np.zeros((3, 1), np.float32), BOXES, *columns[:0:-1]], axis=1)},
        "efficient_nms": lambda: {
            "num_dets": np.array([[3]], np.int32),
            "det_boxes": padded(BOXES, 100)[None],
            "det_scores": np.pad(SCORES, (0, 97), constant_values=0.8)[None],
            "det_classes": np.pad(CLASSES, (0, 97))[None].astype(np.int32),
        },
        "tensorflow": lambda: {
            "detection_boxes": BOXES[None][..., [1, 0, 3, 2]],
            "detection_classes": CLASSES[None].astype(np.float32),
            "detection_scores": SCORES[None],
            "num_detections": np.array([3.0], np.float32),
        },
        "selected": lambda: {"boxes": BOXES, "labels": CLASSES, "scores": SCORES},
        "ssd": lambda: {"scores": one_hot(COUNT + 1, 1)[None], "boxes": BOXES[None]},
        "detr": lambda: {"logits": softmax[None].astype(np.float32), "pred_boxes": centred()[None]},
        "rtdetr": lambda: {"dets": centred()[None], "labels": logit(one_hot(COUNT))[None]},
    }[layout]()


@pytest.mark.parametrize("layout", BOX_LAYOUTS)
def test_each_layout_gives_the_same_boxes_scores_and_classes(layout: str) -> None:
    (picture,) = BOX_LAYOUTS[layout].read(outputs(layout))
    found = detections(picture, 0.45)
    assert found.boxes.shape == (3, 4)
    np.testing.assert_allclose(found.boxes, BOXES, rtol=1e-5)
    np.testing.assert_allclose(found.scores, SCORES, rtol=1e-5)
    np.testing.assert_array_equal(found.classes, CLASSES)


@pytest.mark.parametrize("layout", sorted(set(BOX_LAYOUTS) - {"detr"}))
def test_names_and_shapes_tell_layouts_apart(layout: str) -> None:
    assert fitting_layouts(outputs(layout)) == [layout]


def test_names_do_not_tell_softmax_from_sigmoid() -> None:
    assert fitting_layouts(outputs("detr")) == ["detr", "rtdetr"]


@pytest.mark.parametrize("layout", BOX_LAYOUTS)
def test_fp32_against_itself_is_perfect_and_a_lost_box_is_found_in_each_layout(layout: str) -> None:
    text = f"boxes:layout={layout}"
    assert values(text, outputs(layout))["matched_map"] == 1.0
    found = {name: array.copy() for name, array in outputs(layout).items()}
    _drop_the_second(layout, found)
    mine = values(text, outputs(layout), found)
    assert (mine["lost"], mine["new"], mine["lost_score"]) == (1.0, 0.0, pytest.approx(0.6))
    assert mine["matched_map"] == pytest.approx(2 / 3)


def _drop_the_second(layout: str, found: Mapping[str, np.ndarray]) -> None:
    place = {
        "yolov5": ("output", np.s_[0, 1, 5:]),
        "yolov8": ("output0", np.s_[0, 4:, 1]),
        "end_to_end": ("output0", np.s_[0, 1, 4]),
        "flat": ("output", np.s_[1, 6]),
        "efficient_nms": ("det_scores", np.s_[0, 1]),
        "tensorflow": ("detection_scores", np.s_[0, 1]),
        "selected": ("scores", np.s_[1]),
        "ssd": ("scores", np.s_[0, 1]),
        "detr": ("logits", np.s_[0, 1, :-1]),
        "rtdetr": ("labels", np.s_[0, 1]),
    }[layout]
    found[place[0]][place[1]] = -20.0 if layout in ("detr", "rtdetr") else 0.0


def test_the_outputs_of_a_chains_stage_are_known_by_their_own_names() -> None:
    chain = {f"detector.{name}": array for name, array in outputs("efficient_nms").items()}
    assert values("boxes", chain)["count"] == 3.0


def test_a_batch_of_flat_boxes_is_parted_by_their_picture() -> None:
    rows = outputs("flat")["output"]
    rows[2, 0] = 2.0
    pictures = BOX_LAYOUTS["flat"].read({"output": rows})
    assert [len(each.scores) for each in pictures] == [2, 0, 1]


def test_mask_coefficients_are_not_class_scores_where_the_classes_are_counted() -> None:
    rows = outputs("yolov8")["output0"]
    with_masks = np.concatenate([rows, np.full((1, 32, 50), 7.0, np.float32)], axis=1)
    model = {"output0": with_masks, "output1": np.zeros((1, 32, 5, 5), np.float32)}
    assert values("boxes:output=output0,classes=3", model)["count"] == 3.0


def test_overlapping_boxes_of_a_class_are_suppressed_and_of_two_classes_not() -> None:
    (picture,) = BOX_LAYOUTS["ssd"].read(
        {
            "boxes": np.array([[[0, 0, 10, 10], [1, 0, 11, 10], [0, 1, 10, 11]]], np.float32),
            "scores": np.array([[[0, 0.9, 0], [0, 0.8, 0], [0, 0, 0.7]]], np.float32),
        }
    )
    assert detections(picture, 0.45).scores.tolist() == pytest.approx([0.9, 0.7])
    assert len(detections(picture, 0.9).scores) == 3
