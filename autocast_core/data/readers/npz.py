"""NumPy archives (.npz): zip files of .npy members, read member by member and row by row, never unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from autocast_core.data.readers.part import ArrayHeader, ArrayReader, StreamReader, read_header
from autocast_core.errors import DataError, MissingDataError

_SUFFIX = ".npy"
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


class NpzPart:
    """The arrays of one .npz file, compressed or not.

    DataError where the file is missing, is not a zip archive, is cut off, holds a pickle, or where a member's size is
    not what its header declares.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.where = str(path)
        with _archive(path) as archive:
            self.headers: dict[str, ArrayHeader] = {
                _name(info): _checked_header(archive, info, path)
                for info in archive.infolist()
                if info.filename.endswith(_SUFFIX)
            }

    @contextmanager
    def open(self) -> Iterator[Mapping[str, ArrayReader]]:
        with ExitStack() as stack:
            archive = stack.enter_context(_archive(self._path))
            yield {name: _Member(stack, archive, name, self.where) for name in self.headers}


class _Member:
    """One member; opened when first read, so that unread members cost nothing."""

    def __init__(self, stack: ExitStack, archive: zipfile.ZipFile, name: str, where: str) -> None:
        self._stack, self._archive, self._name = stack, archive, name
        self._where = f"{where}, array {name!r}"
        self._reader: StreamReader | None = None

    def take(self, rows: int | None) -> np.ndarray:
        try:
            if self._reader is None:
                stream = self._stack.enter_context(self._archive.open(self._name + _SUFFIX))
                self._reader = StreamReader(stream, self._where)
            return self._reader.take(rows)
        except _ZIP_ERRORS as error:
            raise DataError(f"{self._where}: damaged ({error}); copy or write the file again") from error


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path}: no such file; give a .npz file, a folder of them or a Polygraphy .json"
        ) from error
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: not a complete .npz archive ({error}); {_remedy(path)}") from error
    with archive:
        yield archive


def _remedy(path: Path) -> str:
    if path.suffix == _SUFFIX:
        return f"give the array its input's name: numpy.savez('{path.stem}.npz', INPUT=numpy.load('{path.name}'))"
    return "write it with numpy.savez, one array per input, under its name"


def _name(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(_SUFFIX)


def _checked_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> ArrayHeader:
    where = f"{path}, array {_name(info)!r}"
    try:
        with archive.open(info) as stream:
            header = read_header(stream, where)
            declared = stream.tell() + header.nbytes
    except DataError:
        raise
    except _ZIP_ERRORS as error:
        raise DataError(f"{where}: damaged ({error}); copy or write the file again") from error
    if declared != info.file_size:
        raise DataError(
            f"{where}: its header declares {declared} bytes, the archive {info.file_size}; write the file again"
        )
    return header
