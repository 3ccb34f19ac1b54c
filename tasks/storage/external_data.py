"""Which files an ONNX model says its weights are in, before any of them is here."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError

from autocast_core.errors import ModelError
from autocast_core.model.protobuf.skeleton import skeleton
from autocast_core.model.protobuf.wire import FileSource, WireError
from tasks.isolation import isolated

_SELF = "\0"
"""Stands for the model file itself; no external file can have this name."""


def external_names(path: Path, where: object) -> tuple[str, ...]:
    """The external data files that the model at `path` names, relative to its folder, normalised and sorted.

    `where` is what messages call the model. ModelError where the file is not an ONNX model, or a name is absolute or
    leads out of the model's folder (docs/ExternalData.md of ONNX: relative paths without parent components).
    """
    names = {_inside(location, where) for location in _read_locations(path, str(where)) if location != _SELF}
    return tuple(sorted(names))


def locations_in(path: Path, where: str) -> tuple[str, ...]:
    """What the model at `path` says of its tensors' places, unchecked; _SELF for its own bytes."""
    try:
        with open(path, "rb") as file:
            structure = skeleton(FileSource(file.fileno(), os.fstat(file.fileno()).st_size), _SELF)
        model = onnx.ModelProto.FromString(structure)
    except (WireError, DecodeError) as error:
        raise ModelError(f"{where} is not an ONNX model ({error}): export it again") from error
    found = (
        next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        for tensor in _tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    )
    return tuple(dict.fromkeys(found))


_read_locations = isolated(locations_in, tuple[str, ...])


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    waiting: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    while waiting:
        owner = waiting.pop()
        if isinstance(owner, onnx.GraphProto):
            yield from owner.initializer
            for sparse in owner.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in owner.node:
            for attribute in node.attribute:
                yield from attribute.tensors
                waiting += attribute.graphs
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("g"):
                    waiting.append(attribute.g)


def _inside(location: str, where: object) -> str:
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or posix.is_absolute() or windows.anchor or ".." in windows.parts or "\0" in location:
        raise ModelError(
            f"{where}: external data at {location!r} is not inside the model's folder: export the model with its data "
            "beside it"
        )
    return posixpath.normpath(location)
