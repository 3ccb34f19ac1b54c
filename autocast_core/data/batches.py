"""Calibration and evaluation data, batch by batch, from whatever the user has."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from autocast_core.data.finite import nonfinite_input, require_finite
from autocast_core.data.input_types import check_type, fitted
from autocast_core.data.inputs import InputSpec
from autocast_core.data.layout import FileLayout
from autocast_core.data.memory import available_bytes
from autocast_core.data.readers import ArraysPart, NpzPart, Part, RandomBatches, polygraphy_parts
from autocast_core.data.slicing import Slicing, slicing
from autocast_core.errors import DataError
from autocast_core.file_digest import combined_digest, file_digest

LABELS = "labels"
_LOG = logging.getLogger(__name__)


class Batches(Protocol):
    """Data for a model, batch by batch; may be iterated over again and again, one batch in memory at a time.

    Iterating raises DataError where an array turns out to be damaged or not to fit.
    """

    @property
    def origin(self) -> Literal["calibration", "random"]: ...

    @property
    def digest(self) -> str:
        """sha256 that identifies the data; of files as the contracts define digests of files."""
        ...

    @property
    def labels(self) -> np.ndarray | None:
        """The array `labels` of all samples in order, where the data has one and the model has no such input."""
        ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]: ...


def open_batches(
    source: str | Path | tuple[Path, ...] | Mapping[str, Any] | None,
    inputs: Sequence[InputSpec],
    *,
    batch_size: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    table_sizes: Mapping[str, int] | None = None,
    finite: bool = False,
) -> Batches:
    """Batches for `inputs` from `source`: a .npz file, a folder of .npz or Polygraphy .json files (in name order), a
    Polygraphy .json file, such files in the order given, a mapping of arrays, or None for seeded random data.

    Only headers are read here, so that names, ranks, shapes and types are judged before any work: DataError says what
    the model takes. `shapes`, `seed` and `table_sizes` (rows of the table that an integer input indexes) are for random
    data; `batch_size` for inputs with a dynamic batch. With `finite`, iterating raises DataError at the first NaN or
    infinity.
    """
    if source is None:
        _LOG.info("no calibration data: one batch of random data, seed %d", seed)
        return RandomBatches(inputs, shapes or {}, seed, table_sizes or {})
    if isinstance(source, Mapping):
        return DataBatches((ArraysPart(source),), inputs, batch_size, (), finite=finite)
    if not isinstance(source, str | Path | tuple):
        raise DataError(
            f"the data is a {type(source).__name__}: give the path of a .npz file or of a folder of them, or a mapping"
            " from names of inputs to arrays"
        )
    files = source if isinstance(source, tuple) else _files(Path(source))
    parts = [(part, number) for number, file in enumerate(files) for part in _parts(file)]
    named = [(file.name, file) for file in files]
    owners = [number for _, number in parts]
    return DataBatches([part for part, _ in parts], inputs, batch_size, named, owners, finite=finite)


def between(batches: Batches, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches from number `start` to before `stop`; only files that hold some of them are read."""
    if isinstance(batches, DataBatches):
        return batches.between(start, stop)
    return islice(iter(batches), start, stop)


def _files(path: Path) -> tuple[Path, ...]:
    if not path.is_dir():
        return (path,)
    files = sorted(file for file in path.iterdir() if file.suffix in (".npz", ".json") and file.is_file())
    if not files:
        raise DataError(
            f"{path}: no .npz file in the folder; put the batches there, each file with one array per model input,"
            " under its name: numpy.savez"
        )
    return tuple(files)


def _parts(path: Path) -> tuple[Part, ...]:
    if path.suffix == ".json":
        return polygraphy_parts(path)
    return (NpzPart(path),)


class DataBatches:
    """The batches in `parts`, which come from `files` (name, path) or, where there are none, from memory; `owners` has
    for each part the number of its file."""

    origin: Literal["calibration"] = "calibration"

    def __init__(
        self,
        parts: Sequence[Part],
        inputs: Sequence[InputSpec],
        batch_size: int,
        files: Sequence[tuple[str, Path]],
        owners: Sequence[int] = (),
        *,
        finite: bool = False,
    ) -> None:
        self._parts = tuple(parts)
        self._owners = tuple(owners)
        self._inputs = tuple(inputs)
        self._files = tuple(files)
        self._finite = finite
        for part in self._parts:
            _warn_of_extras(part, self._inputs)
        self._slicings = tuple(slicing(part.headers, self._inputs, batch_size, part.where) for part in self._parts)
        for part, cut in zip(self._parts, self._slicings, strict=True):
            for spec in self._inputs:
                check_type(part.headers[spec.name].dtype, spec, part.where)
            _check_memory(part, self._inputs, cut)
        self._length = sum(cut.count for cut in self._slicings)

    @cached_property
    def digest(self) -> str:
        if not self._files:
            return _arrays_digest(self._parts)
        digests = self.file_digests
        return combined_digest(digests) if len(digests) > 1 else next(iter(digests.values()))

    @cached_property
    def file_digests(self) -> dict[str, str]:
        """sha256 of each file by its name."""
        return {name: file_digest(path) for name, path in self._files}

    def layout(self) -> FileLayout:
        """Which file holds how many batches, and the shapes of the first batch."""
        counts = [0] * len(self._files)
        for owner, cut in zip(self._owners, self._slicings, strict=True):
            counts[owner] += cut.count
        part, cut = self._parts[0], self._slicings[0]
        shapes = {}
        for spec in self._inputs:
            shape, rows = part.headers[spec.name].shape, _rows(part, cut, spec.name, 0)
            shapes[spec.name] = shape if rows is None else (rows, *shape[1:])
        return FileLayout(tuple(name for name, _ in self._files), tuple(counts), shapes)

    def between(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """See the function `between`."""
        begin = 0
        for part, cut in zip(self._parts, self._slicings, strict=True):
            first, last = max(start - begin, 0), min(stop - begin, cut.count)
            if first < last:
                yield from islice(self._batches_of(part, cut), first, last)
            begin += cut.count

    @cached_property
    def labels(self) -> np.ndarray | None:
        if any(spec.name == LABELS for spec in self._inputs) or not all(LABELS in p.headers for p in self._parts):
            return None
        arrays = []
        for part in self._parts:
            with part.open() as readers:
                arrays.append(np.atleast_1d(readers[LABELS].take(None)))
        try:
            return np.concatenate(arrays)
        except ValueError as error:
            raise DataError(f"{self._parts[0].where}: labels differ in shape between files: {error}") from error

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for part, cut in zip(self._parts, self._slicings, strict=True):
            yield from self._batches_of(part, cut)

    def first_nonfinite(self) -> str | None:
        """The file, the batch, the input and the index of the first NaN or infinity; None where there is none."""
        for part, cut in zip(self._parts, self._slicings, strict=True):
            for index, feeds in enumerate(self._batches_of(part, cut)):
                if (found := nonfinite_input(feeds)) is not None:
                    return f"{part.where.rpartition('/')[2]}, batch {index}: {found}"
        return None

    def _batches_of(self, part: Part, cut: Slicing) -> Iterator[dict[str, np.ndarray]]:
        with part.open() as readers:
            repeated = {
                spec.name: fitted(readers[spec.name].take(None), spec, part.where)
                for spec in self._inputs
                if spec.name not in cut.rows
            }
            for index in range(cut.count):
                feeds = {
                    spec.name: repeated[spec.name]
                    if spec.name in repeated
                    else fitted(readers[spec.name].take(_rows(part, cut, spec.name, index)), spec, part.where)
                    for spec in self._inputs
                }
                if self._finite:
                    require_finite(feeds, f"{part.where}, batch {index}")
                yield feeds


def _rows(part: Part, cut: Slicing, name: str, index: int) -> int | None:
    return cut.rows_of(name, index, part.headers[name].shape[0])


def _warn_of_extras(part: Part, inputs: Sequence[InputSpec]) -> None:
    names = {spec.name for spec in inputs}
    extras = [name for name in part.headers if name not in names and name != LABELS]
    if extras and names <= set(part.headers):
        _LOG.warning("%s: array %r is not an input of the model and is ignored", part.where, extras[0])


def _check_memory(part: Part, inputs: Sequence[InputSpec], cut: Slicing) -> None:
    """DataError where one batch alone would not fit into the memory that is free."""
    headers = part.headers
    needed = headers[LABELS].nbytes if LABELS in headers else 0
    for spec in inputs:
        header = headers[spec.name]
        sliced = spec.name in cut.rows and not header.fortran_order
        needed += (
            header.nbytes * cut.rows[spec.name] // max(header.shape[0], cut.rows[spec.name])
            if sliced
            else header.nbytes
        )
    free = available_bytes()
    if free is not None and needed > free:
        raise DataError(
            f"{part.where}: one batch takes {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of memory are free;"
            " give smaller batches (--batch_size, or fewer samples a file)"
        )


def _arrays_digest(parts: Sequence[Part]) -> str:
    digest = sha256()
    for part in parts:
        with part.open() as readers:
            for name in sorted(part.headers):
                array = np.ascontiguousarray(readers[name].take(None))
                digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
                digest.update("\0".join(map(str, array.flat)).encode() if array.dtype.hasobject else array.tobytes())
    return digest.hexdigest()
