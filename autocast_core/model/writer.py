"""Writing a model: its weights are read, converted and written one block at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import onnx_ir as ir

from autocast_core.errors import OutputError
from autocast_core.file_digest import file_digest, files_digest
from autocast_core.model.atomic import check_destination, written_whole
from autocast_core.model.protobuf.serialized_parts import (
    Locate,
    Reference,
    Structure,
    Weight,
    serialized_parts,
    structure_of,
    total_bytes,
)
from autocast_core.model.protobuf.skeleton import LARGE_BYTES, Part
from autocast_core.model.reference import ModelRef
from autocast_core.model.rounding import RoundBlock, round_block
from autocast_core.model.tensors import ConvertedTensor, DataFile, FileTensor, byte_blocks
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import RuntimeModel

INLINE_LIMIT = (1 << 31) - 1
"""The largest protobuf message, in bytes."""
_ALIGNED_FROM, _PAGE, _LINE = 1 << 20, 4096, 64
_REPORT_BYTES = 1 << 24


@dataclass(frozen=True)
class SavedModel:
    """A written model: its file, its data file if any, and their bytes together."""

    path: Path
    data_path: Path | None
    bytes: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The file and its data file, if any."""
        return (self.path,) if self.data_path is None else (self.path, self.data_path)

    @cached_property
    def sha256(self) -> str:
        """The digest (hex) of the files, as model.files_digest says; they are read when it is first asked for."""
        return files_digest(self.path.parent, self.files)


@dataclass(frozen=True)
class _Layout:
    """Which weights lie where in the data file, in the order of writing, and the file's length."""

    entries: tuple[tuple[int, ir.TensorProtocol], ...]
    offsets: dict[tuple[object, ...], int]
    length: int


def save_model(
    model: ir.Model | Structure,
    path: str | Path,
    *,
    external_data: bool | None = None,
    progress: ProgressCallback = silent,
    round_blocks: RoundBlock = round_block,
) -> SavedModel:
    """Write `model`, or what structure_of gave for one, to `path`, with its weights inside, or in PATH.data beside it.

    Weights go to the data file when `external_data` is true, or when the model would have 2 GB or more. `round_blocks`
    rounds the blocks of converted tensors. The files appear whole or not at all, the data first; the same model gives
    the same bytes. OutputError where they cannot be written, ModelError where a weight cannot be read.
    """
    path = Path(path)
    structure = model if isinstance(model, Structure) else structure_of(model)
    parts = serialized_parts(structure, lambda _: None)
    if external_data or (external_data is None and total_bytes(parts) > INLINE_LIMIT):
        return _save_with_data(structure, path, progress, round_blocks)
    size = total_bytes(parts)
    if size > INLINE_LIMIT:
        raise OutputError(f"{path}: {size} bytes do not fit one ONNX file of 2 GB: allow external data")
    check_destination(path, size)
    with written_whole((path,), size) as (file,):
        out = _Writer(file, size, progress, round_blocks)
        out.parts(parts)
    return SavedModel(path, None, size)


def _save_with_data(
    structure: Structure, path: Path, progress: ProgressCallback, round_blocks: RoundBlock
) -> SavedModel:
    data_path = path.with_name(path.name + ".data")
    layout = _layout(tensor for tensor in structure.weights if tensor.nbytes >= LARGE_BYTES)

    def locate(tensor: ir.TensorProtocol) -> Reference | None:
        offset = layout.offsets.get(origin_key(tensor))
        return None if offset is None else Reference(data_path.name, offset, tensor.nbytes)

    parts = serialized_parts(structure, locate)
    size = total_bytes(parts)
    check_destination(path, size + layout.length)
    check_destination(data_path, 0)
    with written_whole((data_path, path), size + layout.length) as (data_file, file):
        data = _Writer(data_file, size + layout.length, progress, round_blocks)
        for offset, tensor in layout.entries:
            data.write(bytes(offset - data.done))
            data.weight(tensor)
        out = _Writer(file, size, silent, round_blocks)
        out.parts(parts)
    return SavedModel(path, data_path, size + layout.length)


def save_skeleton(model: ir.Model, path: str | Path) -> ModelRef:
    """Write `model` without its weights, which stay in the files they lie in; small enough to pass between tasks.

    Where a tensor is converted and so lies in no file, all weights go to PATH.data. Raises as save_model.
    """
    path = Path(path)
    structure = structure_of(model)
    found = structure.weights
    if any(isinstance(tensor, ConvertedTensor) for tensor in found) or _in_memory(found) > INLINE_LIMIT // 2:
        saved = save_model(structure, path, external_data=True)
        return ModelRef(path, saved.sha256)
    folder, locate = _source_locations(found)
    parts = serialized_parts(structure, locate)
    size = total_bytes(parts)
    check_destination(path, size)
    with written_whole((path,), size) as (file,):
        out = _Writer(file, size, silent, round_block)
        out.parts(parts)
    return ModelRef(path, file_digest(path), folder)


@contextmanager
def runtime_model(structure: Structure, round_blocks: RoundBlock = round_block) -> Iterator[RuntimeModel]:
    """A model as bytes for a runtime: weights in files stay there, the others go inline, or to a temporary file where
    they are too many. The temporary file lives as long as the context.
    """
    found = structure.weights
    with TemporaryDirectory(prefix="autocast-") as scratch:
        moved: dict[tuple[object, ...], ir.TensorProtocol] = {}
        if _in_memory(found) > INLINE_LIMIT // 2:
            moved = write_weights(
                [tensor for tensor in found if not isinstance(tensor, ir.ExternalTensor)],
                Path(scratch) / "weights",
                round_blocks,
            )
        folder, locate = _source_locations([moved.get(origin_key(tensor), tensor) for tensor in found])
        parts = serialized_parts(structure, lambda tensor: locate(moved.get(origin_key(tensor), tensor)))
        data = b"".join(bytes(block) for part in parts for block in _blocks(part, round_blocks))
        del parts
        yield RuntimeModel(data, folder)


class _Writer:
    """Writes blocks to a file, counts them, and reports progress."""

    def __init__(self, file: BinaryIO, total: int, progress: ProgressCallback, round_blocks: RoundBlock) -> None:
        self.file, self.total, self.progress, self.round_blocks = file, total, progress, round_blocks
        self.done = self.reported = 0

    def write(self, block: bytes | memoryview) -> None:
        self.file.write(block)
        self.done += len(block)
        if self.done - self.reported >= _REPORT_BYTES:
            self.reported = self.done
            self.progress(Progress("write", self.done, self.total, "bytes"))

    def weight(self, tensor: ir.TensorProtocol) -> None:
        before = self.done
        for block in byte_blocks(tensor, self.round_blocks):
            self.write(block)
        assert self.done - before == tensor.nbytes, f"{tensor.name}: {self.done - before} of {tensor.nbytes} bytes"

    def parts(self, parts: list[Part]) -> None:
        for part in parts:
            if isinstance(part, Weight):
                self.weight(part.tensor)
            else:
                assert isinstance(part, bytes)
                self.write(part)


def _layout(tensors: Iterable[ir.TensorProtocol]) -> _Layout:
    """Offsets in a data file; what is one range of a source file is one range here too."""
    entries, offsets, end = [], {}, 0
    for tensor in tensors:
        if origin_key(tensor) in offsets:
            continue
        step = _PAGE if tensor.nbytes >= _ALIGNED_FROM else _LINE
        offset = -(-end // step) * step
        entries.append((offset, tensor))
        offsets[origin_key(tensor)] = offset
        end = offset + tensor.nbytes
    return _Layout(tuple(entries), offsets, end)


def origin_key(tensor: ir.TensorProtocol) -> tuple[object, ...]:
    """Equal for tensors with the same bytes by origin."""
    if isinstance(tensor, ConvertedTensor):
        return (tensor.dtype, *origin_key(tensor.source))
    if isinstance(tensor, ir.ExternalTensor):
        return (tensor.dtype, tensor.path, tensor.offset or 0, tensor.nbytes)
    return (id(tensor),)


def _in_memory(tensors: tuple[ir.TensorProtocol, ...]) -> int:
    return sum(tensor.nbytes for tensor in tensors if not isinstance(tensor, ir.ExternalTensor))


def _source_locations(tensors: Iterable[ir.TensorProtocol]) -> tuple[Path | None, Locate]:
    """The folder that holds all files in which `tensors` lie, and their references relative to it."""
    files = {tensor.path: Path(tensor.path).resolve() for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    if not files:
        return None, lambda _: None
    folder = Path(os.path.commonpath([path.parent for path in files.values()]))
    locations = {said: real.relative_to(folder).as_posix() for said, real in files.items()}

    def locate(tensor: ir.TensorProtocol) -> Reference | None:
        if not isinstance(tensor, ir.ExternalTensor):
            return None
        return Reference(locations[tensor.path], tensor.offset or 0, tensor.nbytes)

    return folder, locate


def write_weights(
    tensors: Iterable[ir.TensorProtocol], path: Path, round_blocks: RoundBlock = round_block
) -> dict[tuple[object, ...], ir.TensorProtocol]:
    """The tensors as they lie in the file `path` then, by `origin_key`. OutputError where it cannot be written,
    ModelError where a tensor cannot be read."""
    layout = _layout(tensors)
    with written_whole((path,), layout.length) as (file,):
        out = _Writer(file, layout.length, silent, round_blocks)
        for offset, tensor in layout.entries:
            out.write(bytes(offset - out.done))
            out.weight(tensor)
    written = DataFile.of(path)
    return {
        origin_key(tensor): FileTensor(
            written, path.parent, offset, tensor.dtype, ir.Shape(tensor.shape.numpy()), tensor.name
        )
        for offset, tensor in layout.entries
    }


def _blocks(part: Part, round_blocks: RoundBlock) -> Iterator[bytes | memoryview]:
    if isinstance(part, Weight):
        yield from byte_blocks(part.tensor, round_blocks)
    else:
        assert isinstance(part, bytes)
        yield part
