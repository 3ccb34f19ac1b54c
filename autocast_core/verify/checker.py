"""onnx.checker on a model whose weights are left out, so that it costs what the structure costs."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx.checker
import onnx.shape_inference

from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION
from autocast_core.text import one_line

_LONGEST_FINDING = 500


def checker_finding(structure: bytes, *, full: bool) -> str | None:
    """What onnx.checker says against a serialised model whose weights are at WEIGHTS_LOCATION, on one line, or None.

    With `full` also its strict type and shape inference. The checker looks for the file of external data beside the
    model (onnx.checker.check_model), so both lie in a temporary folder, the data empty.
    """
    with TemporaryDirectory(prefix="autocast-check-") as folder:
        path = Path(folder) / "model.onnx"
        (path.parent / WEIGHTS_LOCATION).touch()
        path.write_bytes(structure)
        try:
            onnx.checker.check_model(path, full_check=full)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
            return _finding(str(error), folder)
    return None


def _finding(text: str, folder: str) -> str:
    """The message without our temporary paths and without the dump of a node that some messages end in."""
    text = one_line(text.replace(f"{folder}/", ""))
    text = re.sub(r"\binput: \".*?op_type: \"(\w+)\"[^=]*", r"operator \1 ", text)
    return text if len(text) <= _LONGEST_FINDING else text[: _LONGEST_FINDING - 1] + "…"
