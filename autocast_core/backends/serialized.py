"""A model as bytes for a runtime, its file-backed weights by reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir


@dataclass(frozen=True)
class Content:
    """A serialised ModelProto and the folder that its external data is in, if any."""

    model: bytes
    data_folder: str | None


@contextmanager
def serialized(model: ir.Model) -> Iterator[Content]:
    """The model as bytes; valid while the context is open."""
    folders = {
        str(Path(value.const_value.base_dir).resolve())
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    yield Content(ir.serde.serialize_model(model).SerializeToString(), next(iter(folders), None))
