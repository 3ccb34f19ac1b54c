"""Calibration data that is in memory already: a mapping of input names to arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from autocast_core.data.readers.part import ArrayHeader, ArrayReader, MemoryReader
from autocast_core.errors import DataError


class ArraysPart:
    """The arrays of a mapping; the arrays are not copied."""

    def __init__(self, arrays: Mapping[str, Any], where: str = "calibration data") -> None:
        self.where = where
        self._arrays = {name: _array(name, value, where) for name, value in arrays.items()}
        self.headers = {name: ArrayHeader(array.dtype, array.shape) for name, array in self._arrays.items()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        return self._arrays

    @contextmanager
    def open(self) -> Iterator[Mapping[str, ArrayReader]]:
        yield {name: MemoryReader(array) for name, array in self._arrays.items()}


def _array(name: str, value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: {name!r} is not an array ({error}); give a numpy array") from error
    if array.dtype.hasobject and not all(isinstance(item, str) for item in array.flat):
        raise DataError(f"{where}: {name!r} is a {type(value).__name__}, not a numeric array; give a numpy array")
    return array
