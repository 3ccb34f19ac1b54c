"""The small model of the examples and its data, made on the spot: embeddings, divided by their length.

Nothing in it is large but the sum of squares, which leaves the range of FP16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

_TEXT = """
<ir_version: 9, opset_import: ["": 18]>
embedding (float[N,8] x) => (float[N,4] y) <float[8,16] w1, float[16,4] w2>
{
  hidden = MatMul(x, w1)
  energy = ReduceSumSquare<keepdims = 1>(hidden, axis)
  size = Sqrt(energy)
  unit = Div(hidden, size)
  positive = Relu(unit)
  y = MatMul(positive, w2)
}
"""
_CLASSES, _SAMPLES = 12, 96


def make_model(seed: int = 0) -> onnx.ModelProto:
    """The network with weights of its own for each `seed`; `x` is float32 (N, 8), `y` float32 (N, 4)."""
    random = np.random.default_rng(seed)
    model = onnx.parser.parse_model(_TEXT)
    arrays = {name: random.normal(size=shape).astype(np.float32) for name, shape in (("w1", (8, 16)), ("w2", (16, 4)))}
    for name, array in {**arrays, "axis": np.array([1])}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def write_data(path: str | Path) -> None:
    """Writes 96 samples of 12 classes to the .npz file at `path`: `x` float32 (96, 8), `labels` int64 (96,)."""
    random = np.random.default_rng(1)
    labels = np.arange(_SAMPLES) % _CLASSES
    centres = random.normal(scale=20, size=(_CLASSES, 8))
    samples = centres[labels] + random.normal(scale=2, size=(_SAMPLES, 8))
    np.savez(path, x=samples.astype(np.float32), labels=labels)
