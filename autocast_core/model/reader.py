"""Opening a model: its structure is read, its weights stay where they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from autocast_core.errors import MissingModelError, ModelError
from autocast_core.model.locations import SELF, DataFolders
from autocast_core.model.protobuf.checked import checked, file_tensor
from autocast_core.model.protobuf.serde import deserialize, infer_types, parse
from autocast_core.model.protobuf.skeleton import LARGE_BYTES, external_locations, relocated, skeleton
from autocast_core.model.protobuf.wire import FileSource, WireError
from autocast_core.model.reference import ModelRef
from autocast_core.model.traverse import map_tensors
from autocast_core.text import one_line

_MEMORY = "\0memory:"
Complete = Callable[[onnx.ModelProto, str], onnx.ModelProto]
"""Adds what a model does not declare; the second argument names the model in messages."""


@dataclass(frozen=True)
class ModelFile:
    """A model file that was read once: its content, but for tensors of 4 KiB and more, which refer to the file."""

    path: Path
    skeleton: bytes
    data_folder: Path | None = None


ModelSource = str | Path | ModelRef | ModelFile


def open_model(source: ModelSource) -> ModelFile:
    """The file at `source`, read once for all uses. ModelError where it is missing or not an ONNX model."""
    if isinstance(source, ModelFile):
        return source
    if isinstance(source, ModelRef):
        return ModelFile(source.path, _read_skeleton(source.path), source.data_folder)
    return ModelFile(Path(source), _read_skeleton(Path(source)))


def load_model(source: ModelSource) -> ir.Model:
    """The model in a file, with types and shapes inferred where inference works.

    Tensors of 4 KiB and more are FileTensors: ranges of the file or of its external data, which are looked for in the
    file's folder and, where the file is a link, in the real file's folder. Nothing else is read before it is used.
    ModelError where the file is missing or not an ONNX model, or where its data are missing, too short, or outside
    the folder.
    """
    return _loaded(open_model(source), infer_types)


def read_model(source: ModelSource) -> ir.Model:
    """As load_model, with the types and shapes that the file declares and no others."""
    return _loaded(open_model(source), lambda proto, _: proto)


def _loaded(file: ModelFile, complete: Complete) -> ir.Model:
    return _model(file.skeleton, DataFolders.of(file.path, file.data_folder), complete)


def model_structure(source: ModelSource, weights_location: str) -> bytes:
    """The model in a file as it is, but for tensors of 4 KiB and more: they refer to the file `weights_location`.

    ModelError where the file is missing or not an ONNX model.
    """
    return relocated(open_model(source).skeleton, weights_location)


def model_files(source: ModelSource) -> tuple[Path, ...]:
    """The model file and its external data files, the model first, then in order of use.

    Paths are beside the model as it says them; where the model is a link and its data lie beside the real file,
    all are the real ones. ModelError where one is missing or outside the folder, or the file is not a model.
    """
    file = open_model(source)
    path, data = file.path, file.skeleton
    folders = DataFolders.of(path)
    try:
        locations = {location: tensor for location, tensor in external_locations(data).items() if location != SELF}
    except (DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: truncated or damaged: {one_line(error)}: fetch or export it again") from error
    said = tuple(dict.fromkeys(folders.find(location, tensor).said for location, tensor in locations.items()))
    if all(each.is_relative_to(folders.folders[0]) for each in said):
        return (path, *said)
    return (path.resolve(), *(each.resolve() for each in said))


def load_proto(proto: onnx.ModelProto, data_folder: str | Path | None = None) -> ir.Model:
    """The model in `proto`, which is not modified; its large initializers are read from it when they are used.

    External data are looked for in `data_folder`. ModelError as load_model.
    """
    copy = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            _copy_field(copy, field, value)
    large: list[onnx.TensorProto] = []
    for field, value in proto.graph.ListFields():
        if field.name != "initializer":
            _copy_field(copy.graph, field, value)
    for tensor in proto.graph.initializer:
        if _is_large(tensor):
            copy.graph.initializer.append(_stub(tensor, len(large)))
            large.append(tensor)
        else:
            copy.graph.initializer.add().CopyFrom(tensor)
    folders = DataFolders.of(Path("the model in memory"), None if data_folder is None else Path(data_folder))
    return _model(copy.SerializeToString(), folders, infer_types, tuple(large))


def _model(
    data: bytes, folders: DataFolders, complete: Complete, memory: tuple[onnx.TensorProto, ...] = ()
) -> ir.Model:
    label = str(folders.model)
    model = deserialize(complete(parse(data, label), label), label)
    map_tensors(model, lambda tensor: _placed(tensor, folders, memory))
    return model


def _placed(tensor: ir.TensorProtocol, folders: DataFolders, memory: tuple[onnx.TensorProto, ...]) -> ir.TensorProtocol:
    """`tensor`, checked, with what it refers to found."""
    label = str(folders.model)
    if type(tensor) is ir.serde.TensorProtoTensor or not isinstance(tensor, ir.ExternalTensor):
        return checked(tensor, label)
    location, name = str(tensor.location), tensor.name or ""
    if memory and location.startswith(_MEMORY):
        proto = memory[int(location.removeprefix(_MEMORY))]
        checked(ir.serde.TensorProtoTensor(proto), label)
        return ir.LazyTensor(lambda: ir.serde.TensorProtoTensor(proto), tensor.dtype, tensor.shape, name=name)
    data = folders.find(location, name)
    return file_tensor(tensor, data.file, data.folder, label)


def _read_skeleton(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise MissingModelError(f"{path}: no such file: give the path of an .onnx file") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "not a regular file"
            raise ModelError(f"{path}: is {kind}: give the path of an .onnx file")
        _refuse_lookalikes(path, os.pread(descriptor, 256, 0))
        return skeleton(FileSource(descriptor, found.st_size), SELF)
    except WireError as error:
        raise ModelError(f"{path}: truncated, or not an ONNX model: {error}: fetch or export it again") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _refuse_lookalikes(path: Path, head: bytes) -> None:
    """ModelError for what is often found where a model should be."""
    start = head.lstrip().lower()
    if not head:
        raise ModelError(f"{path}: the file is empty: fetch or export it again")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ModelError(f"{path}: an HTML or XML page, not a model: download the file itself, not the page about it")
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a Git LFS pointer, not the model: run `git lfs pull`")


def _copy_field(message: Any, field: Any, value: Any) -> None:
    if field.message_type is not None and field.is_repeated:
        getattr(message, field.name).extend(value)
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(value)
    elif field.is_repeated:
        getattr(message, field.name).extend(value)
    else:
        setattr(message, field.name, value)


def _is_large(tensor: onnx.TensorProto) -> bool:
    return tensor.data_location != onnx.TensorProto.EXTERNAL and tensor.ByteSize() >= LARGE_BYTES


def _stub(tensor: onnx.TensorProto, index: int) -> onnx.TensorProto:
    stub = onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    stub.doc_string = tensor.doc_string
    stub.data_location = onnx.TensorProto.EXTERNAL
    stub.external_data.add(key="location", value=f"{_MEMORY}{index}")
    return stub
