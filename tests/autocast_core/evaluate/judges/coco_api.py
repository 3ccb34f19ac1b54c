"""mAP by COCO's own API, from arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def coco_map(
    found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], truths: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """mAP at overlaps from 0.50 to 0.95, and at 0.50; of each picture the boxes found (corners), their scores and
    classes, and the true boxes and classes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = sorted(
        {int(number) for each in truths for number in each[1]} | {int(n) for each in found for n in each[2]}
    )
    true, detected = COCO(), COCO()
    pictures = [{"id": number + 1} for number in range(len(truths))]
    categories = [{"id": number, "name": str(number)} for number in classes]
    true.dataset = {"images": pictures, "categories": categories, "annotations": _listed(truths, None)}
    scores = [each[1] for each in found]
    boxes = [(each[0], each[2]) for each in found]
    detected.dataset = {"images": pictures, "categories": categories, "annotations": _listed(boxes, scores)}
    true.createIndex()
    detected.createIndex()
    judge = COCOeval(true, detected, "bbox")
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][:, :, :, 0, 2]
    return float(precision[precision > -1].mean()), float(precision[0][precision[0] > -1].mean())


def _listed(
    pictures: Sequence[tuple[np.ndarray, np.ndarray]], scores: Sequence[np.ndarray] | None
) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for number, (boxes, classes) in enumerate(pictures):
        for row, (box, label) in enumerate(zip(boxes.astype(np.float64).tolist(), classes.tolist(), strict=True)):
            size = [box[2] - box[0], box[3] - box[1]]
            entry = {"id": len(entries) + 1, "image_id": number + 1, "category_id": int(label), "iscrowd": 0}
            entry |= {"bbox": [box[0], box[1], *size], "area": size[0] * size[1]}
            entries.append(entry if scores is None else entry | {"score": float(scores[number][row])})
    return entries
