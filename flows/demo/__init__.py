"""The demo's model and data: a handwritten-digit classifier that a naive FP16 conversion breaks.

`train_digits.py` made the files from scikit-learn's digits (the test part of the UCI ML hand-written digits data set,
E. Alpaydin and C. Kaynak, 1998, CC BY 4.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from autocast_core.errors import InputError


@dataclass(frozen=True)
class DemoMaterials:
    """The demo's files.

    `model`: FP32, input ``image`` (batch, 1, 8, 8) float32 raw pixels 0-255, output ``logits`` (batch, 10).
    `calibration`: array ``image`` (64, 1, 8, 8), from the training images. `evaluation`: ``image`` (400, 1, 8, 8), held
    out, and ``labels`` (400,) int64.
    """

    model: Path
    calibration: Path
    evaluation: Path


def materials() -> DemoMaterials:
    """Where the demo's files lie. InputError where the installation lost them."""
    folder = Path(str(files(__name__)))
    found = DemoMaterials(folder / "model.onnx", folder / "calibration.npz", folder / "evaluation.npz")
    for path in (found.model, found.calibration, found.evaluation):
        if not path.is_file():
            raise InputError(f"{path}: a file of the demo is missing; install the package again")
    return found
