"""Polygraphy's JSON files, as `polygraphy run --save-inputs` and `polygraphy.json.save_json` write them.

A file holds one feed or a list of feeds; a feed maps input names to objects whose `array` is base64-encoded .npy data
(in older files .npz data, or the bytes as latin-1 text), marked ``polygraphy_class: ndarray``. Format read from
polygraphy/json/serde.py, release 0.53.6. Nothing is ever unpickled. The file is held in memory; .npz files stream.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from autocast_core.data.readers.part import ArrayHeader, ArrayReader, MemoryReader, array_from_npy, read_header
from autocast_core.errors import DataError, MissingDataError

_HEADER_CHARACTERS = 4 * 1024
_CLASS = "polygraphy_class"


def polygraphy_parts(path: Path) -> tuple[FeedPart, ...]:
    """The feeds in the file at `path`. DataError where it is not such a file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingDataError(
            f"{path}: no such file; give a .npz file, a folder of them or a Polygraphy .json"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); write it with polygraphy run --save-inputs") from error
    feeds = raw if isinstance(raw, list) else [raw]
    if not feeds:
        raise DataError(f"{path}: holds no feeds; write at least one with polygraphy run --save-inputs")
    return tuple(FeedPart(feed, f"{path}, feed {index}") for index, feed in enumerate(feeds))


class FeedPart:
    """One feed; its arrays are decoded when they are read."""

    def __init__(self, feed: Any, where: str) -> None:
        if not isinstance(feed, dict):
            raise DataError(f"{where}: a {type(feed).__name__}, not a mapping of input names to arrays")
        self.where = where
        self._feed = {str(name): _payload(value, f"{where}, input {name!r}") for name, value in feed.items()}
        self.headers = {name: _header(text, f"{where}, input {name!r}") for name, text in self._feed.items()}

    @contextmanager
    def open(self) -> Iterator[Mapping[str, ArrayReader]]:
        yield {name: _Encoded(text, f"{self.where}, input {name!r}") for name, text in self._feed.items()}


class _Encoded:
    def __init__(self, text: str, where: str) -> None:
        self._text, self._where = text, where
        self._reader: MemoryReader | None = None

    def take(self, rows: int | None) -> np.ndarray:
        if self._reader is None:
            self._reader = MemoryReader(_decode(self._text, self._where))
        return self._reader.take(rows)


def _payload(value: Any, where: str) -> str:
    if isinstance(value, dict) and isinstance(text := value.get("array"), str):
        return text
    if isinstance(value, dict) and (value.get(_CLASS) == "Tensor" or "tensor" in value):
        raise DataError(f"{where}: a pickled torch tensor, which is never loaded; save numpy arrays instead")
    raise DataError(f"{where}: not an array as Polygraphy writes it; write the file with polygraphy run --save-inputs")


def _header(text: str, where: str) -> ArrayHeader:
    start = _bytes(text[:_HEADER_CHARACTERS], where)
    if not start.startswith(np.lib.format.MAGIC_PREFIX):
        array = _decode(text, where)
        return ArrayHeader(array.dtype, array.shape)
    return read_header(io.BytesIO(start), where)


def _decode(text: str, where: str) -> np.ndarray:
    data = _bytes(text, where)
    if data.startswith(np.lib.format.MAGIC_PREFIX):
        return array_from_npy(data, where)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            array: np.ndarray = archive[archive.files[0]]
            return array
    except Exception as error:  # np.load raises whatever its parsers raise
        raise DataError(f"{where}: not .npy data ({error}); write the file again with a current Polygraphy") from error


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: neither base64 nor latin-1 text; write the file again") from error
