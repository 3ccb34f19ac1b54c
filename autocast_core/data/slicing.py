"""How the arrays of one part are cut into batches of a model.

The rules are those of "Calibration batches" in the project's contracts: an array whose first dimension is a multiple
of a fixed model batch is cut into batches of it; with a dynamic batch into slices of `batch_size`, the remainder being
a batch of its own; scalars and inputs without a batch dimension repeat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autocast_core.data.inputs import InputSpec
from autocast_core.data.readers import ArrayHeader
from autocast_core.errors import DataError


@dataclass(frozen=True)
class Slicing:
    """`count` batches; `rows` says how many rows of each sliced input a full batch takes; other inputs repeat."""

    count: int
    rows: Mapping[str, int]

    def rows_of(self, name: str, batch: int, length: int) -> int | None:
        """Rows of input `name` in batch number `batch`, None where the input repeats."""
        return min(self.rows[name], length - batch * self.rows[name]) if name in self.rows else None


def slicing(headers: Mapping[str, ArrayHeader], inputs: Sequence[InputSpec], batch_size: int, where: str) -> Slicing:
    """The batches that arrays of these shapes make. DataError where an input is missing or a shape does not fit."""
    _check(headers, inputs, where)
    fixed = {spec.name: spec.dims[0] for spec in inputs if spec.dims and isinstance(spec.dims[0], int)}
    counts = {name: headers[name].shape[0] // batch for name, batch in fixed.items() if batch}
    several = {name: count for name, count in counts.items() if count != 1}
    dynamic = _dynamic_batch_inputs(headers, inputs)
    if several:
        return _by_fixed_batch(headers, several, fixed, dynamic, where)
    if not dynamic:
        return Slicing(1, {})
    lengths = {name: headers[name].shape[0] for name in dynamic}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: inputs of one batch differ in their first dimension: {_listed(lengths)}")
    length = lengths[dynamic[0]]
    if length == 0:
        raise DataError(f"{where}: {dynamic[0]!r} holds no sample; give at least one")
    if length > 1 and not any(headers[name].nbytes for name in dynamic):
        # A header of a few bytes can declare any number of them.
        raise DataError(f"{where}: {dynamic[0]!r} has {length} samples without a value: write the array again")
    return Slicing(-(-length // batch_size), dict.fromkeys(dynamic, batch_size))


def _by_fixed_batch(
    headers: Mapping[str, ArrayHeader],
    several: Mapping[str, int],
    fixed: Mapping[str, int],
    dynamic: Sequence[str],
    where: str,
) -> Slicing:
    count = next(iter(several.values()))
    if len(set(several.values())) > 1:
        raise DataError(f"{where}: inputs make different numbers of batches: {_listed(several)}; give as many of each")
    if count == 0:
        raise DataError(f"{where}: {next(iter(several))!r} holds no sample; give at least one")
    rows = {name: fixed[name] for name in several}
    for name in dynamic:
        length = headers[name].shape[0]
        if length % count:
            raise DataError(f"{where}: {name!r} has {length} rows for {count} batches; give a multiple of {count}")
        rows[name] = length // count
    return Slicing(count, rows)


def _check(headers: Mapping[str, ArrayHeader], inputs: Sequence[InputSpec], where: str) -> None:
    missing = [spec for spec in inputs if spec.name not in headers]
    if missing:
        found = ", ".join(map(repr, headers)) or "no array"
        wanted = "; ".join(map(str, inputs))
        raise DataError(f"{where}: no array {missing[0].name!r} (found {found}); the model takes {wanted}")
    for spec in inputs:
        shape = headers[spec.name].shape
        if spec.dims is None:
            continue
        if len(shape) != len(spec.dims):
            raise DataError(f"{where}: {spec.name!r} has shape {list(shape)}; the model takes {spec}")
        for axis, (length, dim) in enumerate(zip(shape, spec.dims, strict=True)):
            fits = length % dim == 0 if axis == 0 and isinstance(dim, int) and dim else length == dim
            if isinstance(dim, int) and not fits:
                raise DataError(f"{where}: {spec.name!r} has shape {list(shape)}; the model takes {spec}")


def _dynamic_batch_inputs(headers: Mapping[str, ArrayHeader], inputs: Sequence[InputSpec]) -> tuple[str, ...]:
    """The inputs whose first dimension is dynamic and is the batch.

    Where a dimension's symbol says "batch", such symbols are the batch. Else the first dynamic leading dimension is,
    with those of the same symbol, and those of another that is as long and leads wherever it occurs (exporters that
    name every axis on its own).
    """
    leading = [
        spec for spec in inputs if headers[spec.name].shape and not (spec.dims and isinstance(spec.dims[0], int))
    ]
    symbols = {dim for spec in inputs for dim in spec.dims or () if isinstance(dim, str)}
    if any("batch" in symbol.lower() for symbol in symbols):
        return tuple(s.name for s in leading if "batch" in str(_lead(s)).lower())
    if not leading:
        return ()
    first = leading[0]
    length = headers[first.name].shape[0]
    inner = {dim for spec in inputs for dim in (spec.dims or ())[1:] if isinstance(dim, str)}

    def belongs(spec: InputSpec) -> bool:
        symbol = _lead(spec)
        if symbol is not None and symbol == _lead(first):
            return True
        return headers[spec.name].shape[0] == length and symbol not in inner

    return tuple(spec.name for spec in leading if belongs(spec))


def _lead(spec: InputSpec) -> int | str | None:
    return spec.dims[0] if spec.dims else None


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name!r} {number}" for name, number in numbers.items())
