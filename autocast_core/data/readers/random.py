"""Seeded random data for a model without calibration data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Literal

import numpy as np
import onnx_ir as ir

from autocast_core.data.inputs import InputSpec
from autocast_core.errors import ConfigError, DataError

_MOST_ELEMENTS, _LARGEST_RANK = 1 << 30, 32


class RandomBatches:
    """One batch: floats uniform in [-1, 1], integers below the rows of the table they index, else 0 or 1.

    `shapes` gives the shapes of dynamic inputs; a symbol fixed by one of them holds for every input, other dynamic
    dimensions are 1. ConfigError where a shape is for no input or does not fit; DataError where an input has a type
    that cannot be made up.
    """

    origin: Literal["random"] = "random"
    labels = None

    def __init__(
        self,
        inputs: Sequence[InputSpec],
        shapes: Mapping[str, Sequence[int]],
        seed: int,
        table_sizes: Mapping[str, int],
    ) -> None:
        self._inputs = tuple(inputs)
        self._shapes = _resolved(self._inputs, shapes)
        self._seed = seed
        self._table_sizes = {name: table_sizes[name] for name in sorted(table_sizes)}

    @property
    def digest(self) -> str:
        """sha256 of what determines the data: inputs, shapes, seed, table sizes."""
        facts = [[str(spec) for spec in self._inputs], self._shapes, self._seed, self._table_sizes]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        generator = np.random.default_rng(self._seed)
        try:
            yield {spec.name: self._value(spec, generator) for spec in self._inputs}
        except MemoryError as error:
            raise DataError("random data for the inputs do not fit memory: give calibration data, or shapes") from error

    def _value(self, spec: InputSpec, generator: np.random.Generator) -> np.ndarray:
        array = self._array(spec, generator)
        # ONNX Runtime takes a sequence as a list of arrays.
        return [array] if spec.kind == "sequence" else array  # type: ignore[return-value]

    def _array(self, spec: InputSpec, generator: np.random.Generator) -> np.ndarray:
        shape = self._shapes[spec.name]
        if math.prod(shape) > _MOST_ELEMENTS or len(shape) > _LARGEST_RANK:
            raise DataError(f"input {spec} is too large for random data: give calibration data, or shapes")
        if spec.kind == "other" or spec.dtype == ir.DataType.UNDEFINED:
            raise DataError(
                f"input {spec.name!r} is not a tensor of a known type, so random data cannot be made for it: give"
                " calibration data"
            )
        if spec.dtype == ir.DataType.STRING:
            return np.full(shape, "a", dtype=object)
        if spec.dtype == ir.DataType.BOOL:
            return generator.integers(0, 2, shape).astype(bool)
        if spec.dtype.is_integer():
            rows = self._table_sizes.get(spec.name, 2)
            return np.asarray(generator.integers(0, max(rows, 1), shape)).astype(spec.numpy)
        return np.asarray(generator.uniform(-1.0, 1.0, shape)).astype(spec.numpy)


def _resolved(inputs: Sequence[InputSpec], shapes: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    known = {spec.name: spec for spec in inputs}
    lengths: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in known:
            raise ConfigError(f"shape for {name!r}: no such input; the model takes {', '.join(known) or 'none'}")
        dims = known[name].dims
        if dims is None:
            continue
        fits = len(dims) == len(shape) and all(
            not isinstance(dim, int) or dim == n for dim, n in zip(dims, shape, strict=True)
        )
        if not fits or any(length < 0 for length in shape):
            raise ConfigError(f"shape {'x'.join(map(str, shape))} does not fit the input {known[name]}")
        lengths.update({dim: int(n) for dim, n in zip(dims, shape, strict=True) if isinstance(dim, str)})

    def length(dim: int | str | None) -> int:
        return dim if isinstance(dim, int) else lengths.get(dim, 1) if dim else 1

    return {
        spec.name: [int(n) for n in shapes[spec.name]] if spec.name in shapes else [length(d) for d in spec.dims or ()]
        for spec in inputs
    }
