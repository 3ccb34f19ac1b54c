"""A detector of bright squares of two colours, whose output has the form of YOLOv8's, and pictures for it."""

from __future__ import annotations

import numpy as np
import onnx

TEXT = """
<ir_version: 9, opset_import: ["": 17]>
detector (float[N, 2, 64, 64] picture) => (float[N, 6, 64] output0)
<int64[3] flat = {0, 6, 64}, int64[2] parts = {4, 2}>
{
    [features] cells = Conv <strides = [8, 8]> (picture, kernels, bias)
    [rows] columns = Reshape(cells, flat)
    [split] moved, logits = Split <axis = 1> (columns, parts)
    [boxes] places = Add(moved, grid)
    [scores] scores = Sigmoid(logits)
    [output] output0 = Concat <axis = 1> (places, scores)
}
"""


def tiny_detector() -> onnx.ModelProto:
    """Cells of 8x8 pixels: a box moves a little with its pixels, and scores by how bright each colour is."""
    kernels = np.random.default_rng(0).normal(0, 0.02, (6, 2, 8, 8))
    for colour in range(2):
        kernels[4 + colour] = 0
        kernels[4 + colour, colour] = 20 / 64
    y, x = np.divmod(np.arange(64), 8)
    grid = np.stack([8 * x + 4, 8 * y + 4, np.full(64, 8), np.full(64, 8)])[None]
    model = onnx.parser.parse_model(TEXT)
    for name, values in {"kernels": kernels, "bias": np.array([0, 0, 0, 0, -10, -10]), "grid": grid}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(values.astype(np.float32), name))
    return model


def pictures(count: int) -> np.ndarray:
    """Pictures [count, 2, 64, 64] with a third of the cells bright."""
    rng = np.random.default_rng(0)
    rng.normal(0, 0.02, (6, 2, 8, 8))
    brightness = rng.uniform(0, 1, (count, 2, 8, 8)) * (rng.uniform(0, 1, (count, 1, 8, 8)) < 0.3)
    return np.kron(brightness, np.ones((8, 8))).astype(np.float32)
