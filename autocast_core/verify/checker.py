"""onnx.checker on a model whose weights are left out, so that it costs what the structure costs."""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnx.checker
import onnx.shape_inference

from autocast_core.model.protobuf.proto_nodes import proto_nodes
from autocast_core.model.protobuf.serialized_parts import WEIGHTS_LOCATION
from autocast_core.operators import is_runtime_operator
from autocast_core.text import one_line

_LONGEST_FINDING = 500
_UNREGISTERED = re.compile(r"No Op registered for \w+ with domain_version")
_RUNTIMES = "autocast.runtimes"


def checker_finding(structure: bytes, *, full: bool) -> str | None:
    """What onnx.checker says against a serialised model whose weights are at WEIGHTS_LOCATION, on one line, or None.

    With `full` also its strict type and shape inference. The checker looks for the file of external data beside the
    model (onnx.checker.check_model), so both lie in a temporary folder, the data empty.
    """
    with TemporaryDirectory(prefix="autocast-check-") as folder:
        path = Path(folder) / "model.onnx"
        (path.parent / WEIGHTS_LOCATION).touch()
        path.write_bytes(structure)
        refusal = _refusal(path, full)
        if refusal is not None and _UNREGISTERED.search(refusal):
            structure = _without_runtime_operators(structure)
            path.write_bytes(structure)
            refusal = _refusal(path, full)
        if refusal is not None:
            path.write_bytes(_with_names(structure))
            refusal = _refusal(path, full) or refusal
    return None if refusal is None else _finding(refusal, folder)


def _refusal(path: Path, full: bool) -> str | None:
    try:
        onnx.checker.check_model(path, full_check=full)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        return str(error)
    return None


def _without_runtime_operators(structure: bytes) -> bytes:
    """The model with the operators that runtimes have in ONNX's own domain in one that the checker does not know."""
    model = onnx.ModelProto.FromString(structure)
    model.opset_import.add(domain=_RUNTIMES, version=1)
    for node in proto_nodes(model.graph.node):
        if node.domain in ("", "ai.onnx") and is_runtime_operator(node.op_type):
            node.domain = _RUNTIMES
    content: bytes = model.SerializeToString()
    return content


def _with_names(structure: bytes) -> bytes:
    """The model with names for nodes without one, so that a message about them says which they are."""
    model = onnx.ModelProto.FromString(structure)
    for node in proto_nodes(model.graph.node):
        if not node.name:
            node.name = f"of output {next(filter(None, node.output), '')!r}"
    content: bytes = model.SerializeToString()
    return content


def _finding(text: str, folder: str) -> str:
    """The message without our temporary paths and without the dump of a node that some messages end in."""
    text = one_line(text.replace(f"{folder}/", ""))
    text = re.sub(r"\binput: \".*?op_type: \"(\w+)\"[^=]*", r"operator \1 ", text)
    return text if len(text) <= _LONGEST_FINDING else text[: _LONGEST_FINDING - 1] + "…"
