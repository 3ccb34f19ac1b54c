"""The judge of boxes: mAP as COCO's API computes it, planted flips, and boxes that belong together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autocast_core.errors import ConfigError, DataError
from tests.autocast_core.evaluate.judges.coco_api import coco_map
from tests.autocast_core.evaluate.judges.judging import judged, values

PLACES = np.array([[40.0 * x, 40.0 * y] for y in range(4) for x in range(5)])


def scene(pictures: int, count: int, seed: int = 0) -> np.ndarray:
    """End-to-end output [pictures, 20, 6]: `count` boxes a picture, apart from each other; the other rows score 0."""
    rng = np.random.default_rng(seed)
    found = np.zeros((pictures, 20, 6), np.float32)
    for picture in found:
        corners = PLACES[rng.permutation(20)]
        picture[:, :2] = corners
        picture[:, 2:4] = corners + rng.uniform(20, 35, (20, 2))
        picture[:count, 4] = np.sort(rng.uniform(0.4, 1.0, count))[::-1]
        picture[:, 5] = rng.integers(0, 3, 20)
    return found


def disturbed(boxes: np.ndarray, pixels: float, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = boxes.copy()
    found[..., :4] += rng.normal(0.0, pixels, found[..., :4].shape)
    found[..., 4] = np.where(found[..., 4] > 0, np.clip(found[..., 4] + rng.normal(0, 0.1, found.shape[:2]), 0, 1), 0)
    found[..., 5] = np.where(rng.random(found.shape[:2]) < 0.1, (found[..., 5] + 1) % 3, found[..., 5])
    return found


def used(boxes: np.ndarray, score: float) -> list[Any]:
    rows = [picture[picture[:, 4] >= score] for picture in boxes]
    rows = [picture[np.argsort(-picture[:, 4], kind="stable")] for picture in rows]
    return [(each[:, :4], each[:, 4], each[:, 5]) for each in rows]


def test_fp32_against_itself_is_perfect() -> None:
    found = values("boxes", {"y": scene(4, 9)}, batches=2)
    assert found["matched_map"] == found["map_ratio"] == found["mean_iou"] == 1.0
    assert [found[name] for name in ("lost", "new", "class_flips", "lost_score", "count")] == [0, 0, 0, 0, 36]


@pytest.mark.parametrize("pixels", [0.5, 3.0])
def test_matched_map_is_that_of_cocos_api_with_fp32s_boxes_as_truth(pixels: float) -> None:
    pytest.importorskip("pycocotools")
    expected, found = scene(6, 12), disturbed(scene(6, 12), pixels)
    truths = [(boxes, classes) for boxes, _, classes in used(expected, 0.25)]
    wanted = coco_map(used(found, 0.001), truths)
    mine = values("boxes", {"y": expected}, {"y": found}, batches=3)
    assert (mine["matched_map"], mine["matched_map50"]) == pytest.approx(wanted, abs=1e-12)
    assert 0.0 < wanted[0] < 1.0


def test_map_to_labels_is_that_of_cocos_api_for_both_models() -> None:
    pytest.importorskip("pycocotools")
    truth = scene(5, 7)
    labels = np.full((5, 20, 5), -1.0, np.float32)
    labels[:, :7] = truth[:, :7][..., [0, 1, 2, 3, 5]]
    fp32, low = disturbed(truth, 2.0, seed=3), disturbed(truth, 5.0, seed=4)
    truths = [(each[:7, :4], each[:7, 4]) for each in labels]
    mine = values("boxes", {"y": fp32}, {"y": low}, labels, batches=2)
    reference, candidate = coco_map(used(fp32, 0.001), truths), coco_map(used(low, 0.001), truths)
    assert (mine["map_fp32"], mine["map50_fp32"]) == pytest.approx(reference, abs=1e-12)
    assert (mine["map"], mine["map50"]) == pytest.approx(candidate, abs=1e-12)
    assert mine["map_ratio"] == pytest.approx(candidate[0] / reference[0])
    assert mine["map_drop"] == pytest.approx(reference[0] - candidate[0])


def test_planted_flips_are_all_found_with_the_batch_of_the_most() -> None:
    expected = scene(6, 8)
    found = expected.copy()
    found[1, 2, 4] = 0.1  # lost: its score falls below 0.25
    found[4, 0, :4] += 100.0  # lost here, new there
    found[4, 3, 5] = (found[4, 3, 5] + 1) % 3  # another class
    found[5, 15, 4] = 0.9  # new
    mine = judged("boxes", {"y": expected}, {"y": found}, batches=3)
    assert [mine.values[name] for name in ("lost", "new", "class_flips")] == [3.0, 3.0, 1.0]
    assert mine.values["lost_share"] == 3 / 48
    assert mine.values["lost_score"] == pytest.approx(max(expected[1, 2, 4], expected[4, 0, 4], expected[4, 3, 4]))
    assert mine.worst["lost"] == (2.0, 2)
    assert mine.worst["new"] == (3.0, 2)


def test_a_nan_score_or_coordinate_is_a_lost_box() -> None:
    expected = scene(1, 3)
    found = expected.copy()
    found[0, 0, 4], found[0, 1, 0] = np.nan, np.inf
    assert values("boxes", {"y": expected}, {"y": found})["lost"] == 2.0


def test_without_a_box_in_fp32_there_is_no_ratio() -> None:
    found = values("boxes", {"y": scene(1, 0)}, {"y": scene(1, 2)})
    assert (found["new"], found["count"], "map_ratio" in found) == (2.0, 0.0, False)


def test_the_options_say_which_boxes_count() -> None:
    expected = scene(1, 4)
    expected[0, :4, 4] = [0.9, 0.6, 0.5, 0.4]
    found = expected.copy()
    found[0, 3, 4] = 0.0
    assert values("boxes:score=0.45", {"y": expected}, {"y": found})["lost"] == 0.0
    assert values("boxes:score=0.3", {"y": expected}, {"y": found})["lost"] == 1.0
    found[0, 0, 2] -= 0.3 * (found[0, 0, 2] - found[0, 0, 0])  # an overlap of 0.7
    assert values("boxes:score=0.45,overlap=0.75", {"y": expected}, {"y": found})["lost"] == 1.0


def test_labels_of_another_form_are_an_error_that_says_the_form_and_how_to_omit_them() -> None:
    with pytest.raises(DataError, match=r"give \[pictures, boxes, 5\].*judges: boxes:labels=off"):
        values("boxes", {"y": scene(2, 1)}, labels=np.zeros(2, np.int64))
    assert values("boxes:labels=off", {"y": scene(2, 1)}, labels=np.zeros(2, np.int64))["lost"] == 0.0


def test_outputs_that_cannot_be_read_are_an_error_with_the_shapes_that_can() -> None:
    with pytest.raises(DataError, match=r"outputs x \[1, 4, 4\] float32.*it reads yolov5: \[batch, candidates, 5"):
        values("boxes", {"x": np.zeros((1, 4, 4), np.float32)})
    with pytest.raises(DataError, match=r"may be detr or rtdetr: say which, as in boxes:layout=detr"):
        values("boxes", {"logits": np.zeros((1, 9, 4)), "pred_boxes": np.zeros((1, 9, 4))})
    with pytest.raises(DataError, match="not efficient_nms"):
        values("boxes:layout=efficient_nms", {"y": scene(1, 1)})
    with pytest.raises(DataError, match="yolov8 has one output: say which, as in boxes:output=a"):
        values("boxes:layout=yolov8", {"a": np.zeros((1, 9, 20)), "b": np.zeros((1, 3, 4))})
    with pytest.raises(ConfigError, match=r"classes is for the layouts yolov5 and yolov8, not end_to_end"):
        values("boxes:classes=3", {"y": scene(1, 1)})
