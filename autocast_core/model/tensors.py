"""Tensors that stay in their file until they are read, in chunks, and tensors converted while they are read."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx_ir as ir

from autocast_core.errors import ModelError
from autocast_core.model.rounding import RoundBlock, round_block, saturating
from autocast_core.number_formats import FLOAT_DTYPES

CHUNK_ELEMENTS = 1 << 18  # a mebibyte of FP32 stays in a core's cache
_COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """A file with weights, as it was when the model was opened; `size` in bytes."""

    path: Path
    size: int
    modified_ns: int

    @staticmethod
    def of(path: Path) -> DataFile:
        """The file at `path` as it is now. OSError where it cannot be looked at."""
        found = path.stat()
        return DataFile(path, found.st_size, found.st_mtime_ns)

    def changed(self, descriptor: int) -> bool:
        """Whether the opened file is not the one that was seen."""
        found = os.fstat(descriptor)
        return (found.st_size, found.st_mtime_ns) != (self.size, self.modified_ns)


class FileTensor(ir.ExternalTensor):
    """An ir.ExternalTensor that is read by pread, every time anew, and keeps nothing in memory.

    onnx_ir maps the file instead; scanned pages then count as resident memory until the tensor is released, and files
    with hard links are refused. Location and length were checked when the model was loaded.
    """

    __slots__ = ("file",)

    def __init__(
        self, file: DataFile, base: Path, offset: int, dtype: ir.DataType, shape: ir.Shape, name: str | None
    ) -> None:
        length = -(-shape_size(shape) * dtype.bitwidth // 8)
        location = file.path.relative_to(base).as_posix()
        super().__init__(location, offset, length, dtype, shape=shape, name=name or "", base_dir=str(base))
        self.file = file

    def numpy(self) -> np.ndarray:
        """The values, read from the file into a new array. ModelError as `chunks`."""
        data = bytearray(self.nbytes)
        done = 0
        for block in _file_blocks(self, _COPY_BYTES):
            data[done : done + len(block)] = block
            done += len(block)
        if self.dtype.bitwidth < 8:
            return ir.PackedTensor(np.frombuffer(data, np.uint8), self.dtype, shape=self.shape).numpy()
        return np.frombuffer(data, little_endian(self.dtype)).reshape(self.shape.numpy())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def tobytes(self) -> bytes:
        """The bytes of the values, little-endian. ModelError as `chunks`."""
        return b"".join(bytes(block) for block in _file_blocks(self, _COPY_BYTES))

    def tofile(self, file: BinaryIO) -> None:
        """Write the bytes to a binary file, in blocks."""
        for block in _file_blocks(self, _COPY_BYTES):
            file.write(block)


class ConvertedTensor(ir.LazyTensor):
    """A float tensor seen in another float type, converted whenever it is read.

    `source` has FLOAT, DOUBLE, FLOAT16 or BFLOAT16 elements and keeps its shape; `dtype` is one of these. Rounds to
    nearest even, saturating: see rounding.py. ValueError for any other type.
    """

    __slots__ = ("source",)

    def __init__(self, source: ir.TensorProtocol, dtype: ir.DataType, name: str | None = None) -> None:
        if not {source.dtype, dtype} <= FLOAT_DTYPES:
            raise ValueError(f"tensor {source.name!r}: no conversion from {source.dtype} to {dtype}")
        super().__init__(
            self._read,
            dtype,
            shape=source.shape,  # type: ignore[arg-type]
            name=source.name if name is None else name,
            doc_string=source.doc_string,
        )
        self.source = source

    def _read(self) -> ir.Tensor[np.ndarray]:
        return ir.Tensor(self._values().reshape(self.shape.numpy()), self.dtype, name=self.name)

    def _values(self) -> np.ndarray:
        """The converted values, flat."""
        values = np.empty(self.size, self.dtype.numpy())
        if values.size <= CHUNK_ELEMENTS:
            saturating(self.source.numpy().reshape(-1), values)
        else:
            done = 0
            for block in chunks(self):
                values[done : done + block.size] = block
                done += block.size
        return values

    def tobytes(self) -> bytes:
        """The bytes of the converted values, little-endian."""
        values = self._values()
        return values.astype(little_endian(self.dtype), copy=False).tobytes()

    def __repr__(self) -> str:
        return f"ConvertedTensor<{self.dtype},{self.shape}>({self.source!r})"

    def tofile(self, file: BinaryIO) -> None:
        """Write the converted bytes to a binary file, in blocks."""
        for block in byte_blocks(self):
            file.write(block)


def unconverted(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor itself, or what it is read from where that has the same type and so the same bytes."""
    while isinstance(tensor, ConvertedTensor) and tensor.source.dtype == tensor.dtype:
        tensor = tensor.source
    return tensor


def chunks(
    tensor: ir.TensorProtocol, elements: int = CHUNK_ELEMENTS, round_blocks: RoundBlock = round_block
) -> Iterator[np.ndarray]:
    """The values of `tensor`, flat, in its own dtype, in arrays of at most `elements`.

    An array is valid until the next step: the buffer behind it is used again; read it, do not write to it.
    `round_blocks` does the rounding of a ConvertedTensor. ModelError where a file is gone, changed or unreadable.
    """
    tensor = unconverted(tensor)
    if isinstance(tensor, ConvertedTensor):
        yield from _converted(tensor, elements, round_blocks)
    elif isinstance(tensor, ir.ExternalTensor) and tensor.dtype.bitwidth >= 8:
        dtype = little_endian(tensor.dtype)
        for block in _file_blocks(tensor, elements * dtype.itemsize):
            yield np.frombuffer(block, dtype)
    else:
        flat = tensor.numpy().reshape(-1)
        for start in range(0, flat.size, elements):
            yield flat[start : start + elements]


def byte_blocks(tensor: ir.TensorProtocol, round_blocks: RoundBlock = round_block) -> Iterator[memoryview]:
    """The bytes of `tensor` as ONNX's raw_data holds them, in blocks valid until the next step."""
    tensor = unconverted(tensor)
    if isinstance(tensor, ConvertedTensor):
        for block in chunks(tensor, round_blocks=round_blocks):
            yield block.view(np.uint8).data
    elif isinstance(tensor, ir.ExternalTensor):
        yield from _file_blocks(tensor, _COPY_BYTES)
    else:
        data = memoryview(tensor.tobytes())
        for start in range(0, len(data), _COPY_BYTES):
            yield data[start : start + _COPY_BYTES]


def shape_size(shape: ir.Shape) -> int:
    """The number of elements of a static shape."""
    size = 1
    for dim in shape.numpy():
        size *= dim
    return size


def _converted(tensor: ConvertedTensor, elements: int, round_blocks: RoundBlock) -> Iterator[np.ndarray]:
    target = np.empty(min(elements, max(tensor.size, 1)), tensor.dtype.numpy())
    for block in chunks(tensor.source, elements, round_blocks):
        part = target[: block.size]
        saturating(block, part, round_blocks)
        yield part


def check_file(tensor: ir.ExternalTensor) -> None:
    """ModelError where the file of the tensor is gone, was changed since it was seen, or ends inside the tensor's first
    bytes."""
    with closing(_file_blocks(tensor, 1)) as blocks:
        next(blocks, None)


def _file_blocks(tensor: ir.ExternalTensor, block_bytes: int) -> Generator[memoryview]:
    """The bytes of a tensor in a file; one buffer, used again for every block."""
    path, offset, left = tensor.path, tensor.offset or 0, tensor.nbytes
    if not left:
        return
    buffer = memoryview(bytearray(min(block_bytes, left)))
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise ModelError(f"{path}: cannot read tensor {tensor.name!r}: {error.strerror}: restore the file") from error
    try:
        if isinstance(tensor, FileTensor) and tensor.file.changed(descriptor):
            raise ModelError(f"{path}: the file changed while tensor {tensor.name!r} was to be read: start again")
        while left:
            block = buffer[: min(block_bytes, left)]
            _fill(descriptor, block, offset, tensor)
            yield block
            offset, left = offset + len(block), left - len(block)
    finally:
        os.close(descriptor)


def _fill(descriptor: int, block: memoryview, offset: int, tensor: ir.ExternalTensor) -> None:
    done = 0
    while done < len(block):
        try:
            count = os.preadv(descriptor, [block[done:]], offset + done)
        except OSError as error:
            raise ModelError(
                f"{tensor.path}: cannot read tensor {tensor.name!r}: {error.strerror}: restore the file"
            ) from error
        if not count:
            raise ModelError(
                f"{tensor.path}: ends at byte {offset + done}, inside tensor {tensor.name!r}: fetch the file again"
            )
        done += count


def release_pages(tensor: ir.ExternalTensor) -> None:
    """Tell the system that what it keeps in memory of the tensor's file is not needed soon; see posix_fadvise(2)."""
    if not hasattr(os, "posix_fadvise"):  # macOS and Windows lack it
        return
    with suppress(OSError):  # advice only: whoever reads the file next says what is wrong with it
        descriptor = os.open(tensor.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, tensor.offset or 0, tensor.nbytes, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def little_endian(dtype: ir.DataType) -> np.dtype:
    """The numpy type of elements as ONNX's raw_data holds them."""
    numpy = np.dtype(dtype.numpy())
    return numpy.newbyteorder("<") if numpy.itemsize > 1 and numpy.kind in "iufc" else numpy
