"""What every reader offers: a part is one file, or one feed of a file, with named arrays."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import IO, Protocol

import numpy as np

from autocast_core.errors import DataError
from autocast_core.text import one_line

_LONGEST_HEADER = 10_000
"""Bytes; numpy.lib.format's own limit."""


@dataclass(frozen=True)
class ArrayHeader:
    """Type and shape of an array that is not read yet."""

    dtype: np.dtype
    shape: tuple[int, ...]
    fortran_order: bool = False

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class ArrayReader(Protocol):
    """Reads one array front to back."""

    def take(self, rows: int | None) -> np.ndarray:
        """The next `rows` along the first dimension, or, for None, the whole array."""
        ...


class Part(Protocol):
    """Named arrays from one place."""

    @property
    def where(self) -> str:
        """The place as messages name it."""
        ...

    @property
    def headers(self) -> Mapping[str, ArrayHeader]: ...

    def open(self) -> AbstractContextManager[Mapping[str, ArrayReader]]:
        """Readers of the arrays, at their beginnings. Taking from one raises DataError where the data is damaged."""
        ...


def read_header(stream: IO[bytes], where: str) -> ArrayHeader:
    """The header of the .npy data that `stream` is at; leaves the stream at the first element.

    Object arrays are refused: their content is a pickle, which could run any code. Format: numpy.lib.format.
    """
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(_header_bytes(stream, 2))
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(_header_bytes(stream, 4))
        else:
            raise ValueError(f".npy format {version}")
    except Exception as error:  # numpy parses the header as Python, and each parser has its own errors
        raise DataError(f"{where}: not a .npy array ({one_line(error, 200)}); write it with numpy.savez") from error
    if dtype.hasobject:
        raise DataError(f"{where}: holds pickled Python objects, which are never loaded; save plain arrays instead")
    if any(length < 0 for length in shape):
        raise DataError(f"{where}: declares the shape {list(shape)}; write it again with numpy.savez")
    return ArrayHeader(dtype, tuple(int(length) for length in shape), bool(fortran_order))


def _header_bytes(stream: IO[bytes], length_bytes: int) -> io.BytesIO:
    """The header with its length, never more than numpy would take: a compressed one of 4 GiB fits into a few MB."""
    start = stream.read(length_bytes)
    length = int.from_bytes(start, "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"a header of {length} bytes")
    return io.BytesIO(start + stream.read(length))


class StreamReader:
    """Reads an array from a stream of .npy data, no more than asked for at a time."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self._where = where
        self._stream = stream
        self._header = read_header(stream, where)
        self._whole: np.ndarray | None = None
        self._next_row = 0

    def take(self, rows: int | None) -> np.ndarray:
        if rows is None or self._header.fortran_order:
            return self._from_whole(rows)
        shape = (rows, *self._header.shape[1:])
        return np.frombuffer(self._read(shape), self._header.dtype).reshape(shape)

    def _from_whole(self, rows: int | None) -> np.ndarray:
        if self._whole is None:
            flat = np.frombuffer(self._read(self._header.shape), self._header.dtype)
            self._whole = flat.reshape(self._header.shape, order="F" if self._header.fortran_order else "C")
        if rows is None:
            return self._whole
        self._next_row += rows
        return self._whole[self._next_row - rows : self._next_row]

    def _read(self, shape: tuple[int, ...]) -> bytearray:
        wanted = math.prod(shape) * self._header.dtype.itemsize
        data = bytearray()
        while len(data) < wanted:
            block = self._stream.read(min(wanted - len(data), 1 << 24))
            if not block:
                raise DataError(f"{self._where}: ends after {len(data)} of {wanted} bytes; copy or write it again")
            data += block
        return data


class MemoryReader:
    """Reads an array that is in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self._next_row = 0

    def take(self, rows: int | None) -> np.ndarray:
        if rows is None:
            return self._array
        self._next_row += rows
        return self._array[self._next_row - rows : self._next_row]


def array_from_npy(data: bytes, where: str) -> np.ndarray:
    """The array in .npy bytes."""
    return StreamReader(io.BytesIO(data), where).take(None)
