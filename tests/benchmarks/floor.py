"""The least that a conversion with calibration could cost: see `floor`. Run as a process: MODEL CALIBRATION OUTPUT."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

_BLOCK_BYTES = 1 << 20


def floor(model: Path, calibration: Path, output: Path) -> None:
    """One default FP32 session, each sample run once, the weights read and half as many bytes written."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batched = {item.name for item in session.get_inputs() if item.shape and not isinstance(item.shape[0], int)}
    with np.load(calibration) as arrays:
        data = {name: arrays[name] for name in arrays.files}
    samples = max(array.shape[0] for array in data.values() if array.ndim)
    for index in range(samples):
        session.run(None, {name: _slice(array, index, name in batched) for name, array in data.items()})
    del session
    with output.open("wb") as out:
        for file in sorted(model.parent.glob(f"{model.name}*")):
            with file.open("rb", buffering=0) as weights:
                while block := weights.read(_BLOCK_BYTES):
                    out.write(block[: len(block) // 2])


def _slice(array: np.ndarray, index: int, batched: bool) -> np.ndarray:
    # A fixed first dimension of one is a batch too.
    return array[index : index + 1] if array.ndim and (batched or array.shape[0] > 1) else array


if __name__ == "__main__":
    floor(*map(Path, sys.argv[1:4]))
