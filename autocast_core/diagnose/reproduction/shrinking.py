"""Makes a fault smaller: axes of inputs and weights are cut down as far as the fault stays.

- A length is cut everywhere at once: every axis of that length in inputs and weights, and that number in constants that
  state shapes, so that what was one dimension of the models stays one. The batch, leading axis of inputs, comes first.
- Nothing is assumed of the operators: each smaller fault is run, and taken only where it is as bad as before.
- Stops at a few kilobytes: what is left can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from autocast_core.diagnose.reproduction.fault import Fault, Shown
from autocast_core.diagnose.reproduction.sub_models import Arrays, weights, with_weights
from autocast_core.errors import AutocastError
from autocast_core.runtime import Runtime

SMALL_BYTES = 1 << 11
_MOST_RUNS = 60


@dataclass(frozen=True)
class _Cut:
    """Keep `window` of every axis of length `length`; of the leading axes of inputs alone where `batch`."""

    length: int
    window: slice
    batch: bool

    def of(self, array: np.ndarray, *, is_input: bool) -> np.ndarray:
        if self.batch:
            return array[self.window] if is_input and array.ndim and array.shape[0] == self.length else array
        if not is_input and array.ndim == 1 and array.dtype == np.int64:
            kept = self.window.stop - self.window.start
            return np.where(array == self.length, kept, array)  # it may state a shape
        return array[tuple(self.window if n == self.length else slice(None) for n in array.shape)]


def shrunk(fault: Fault, runtime: Runtime) -> tuple[Fault, Shown]:
    """The smallest fault found that is as bad as `fault`, and what it shows. Only with a reference to run it is cut."""
    shown = start = fault.run(runtime)
    runs = _MOST_RUNS
    while fault.reference is not None and runs > 0 and _bytes(fault) > SMALL_BYTES:
        for cut in _cuts(fault, shown):
            runs -= 1
            smaller = _cut(fault, cut)
            found = _tried(smaller, runtime)
            if found is not None and found.is_as_bad_as(start):
                fault, shown = smaller, found
                break
            if runs <= 0:
                break
        else:
            break
    return fault, shown


def _tried(fault: Fault, runtime: Runtime) -> Shown | None:
    try:
        return fault.run(runtime)
    except (AutocastError, ValueError, IndexError):
        return None


def _cuts(fault: Fault, shown: Shown) -> Iterator[_Cut]:
    """The cuts to try, those that save most first: windows around the worst element, the smallest first."""
    worst = dict(zip(shown.found.shape, shown.worst_index(), strict=True))
    batches = {array.shape[0] for array in fault.candidate_feeds.values() if array.ndim}
    for length in sorted((n for n in batches if n > 1), reverse=True):
        for window in _windows(length, worst.get(length, 0)):
            yield _Cut(length, window, batch=True)
    sizes: dict[int, int] = {}
    for array in _arrays(fault):
        for length in set(array.shape):
            sizes[length] = sizes.get(length, 0) + array.nbytes
    for length in sorted((n for n in sizes if n > 1), key=lambda n: -sizes[n]):
        for window in _windows(length, worst.get(length, 0)):
            yield _Cut(length, window, batch=False)


def _windows(length: int, at: int) -> Iterator[slice]:
    """Windows of 1, 4, 16 … elements that hold `at`."""
    size = 1
    while size < length:
        start = min(at - at % size, length - size)
        yield slice(start, start + size)
        size *= 4


def _cut(fault: Fault, cut: _Cut) -> Fault:
    assert fault.reference is not None
    return replace(
        fault,
        candidate=with_weights(fault.candidate, _cut_all(weights(fault.candidate), cut, is_input=False)),
        reference=with_weights(fault.reference, _cut_all(weights(fault.reference), cut, is_input=False)),
        candidate_feeds=_cut_all(fault.candidate_feeds, cut, is_input=True),
        reference_feeds=_cut_all(fault.reference_feeds, cut, is_input=True),
    )


def _cut_all(arrays: Arrays, cut: _Cut, *, is_input: bool) -> Mapping[str, np.ndarray]:
    return {name: cut.of(array, is_input=is_input) for name, array in arrays.items()}


def _arrays(fault: Fault) -> Iterator[np.ndarray]:
    yield from fault.candidate_feeds.values()
    yield from weights(fault.candidate).values()


def _bytes(fault: Fault) -> int:
    return sum(array.nbytes for array in _arrays(fault))
