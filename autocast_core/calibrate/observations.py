"""What instrumented runs have shown of each tensor so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autocast_core.calibrate.accumulator import Accumulator, segments, small_columns
from autocast_core.calibrate.instrument import ProbeResults, Probes, Reduced, sample_indices
from autocast_core.calibrate.statistics import EMPTY, TensorStats
from autocast_core.config import Precision


class Observations:
    """Adds up the results of runs, batch by batch; one session's whole and sampled tensors at a time in arrays.

    `flagged` names by batch number the sampled tensors that held NaN or infinity there: that batch of theirs is left
    out, to be measured exactly. `small` says whether small-value quantities are measured.
    """

    def __init__(self, precision: Precision, *, small: bool) -> None:
        self.flagged: dict[int, frozenset[str]] = {}
        self._precision, self._small = precision, small
        self._whole = self._sampled = Accumulator((), small=small)
        self._others: dict[str, TensorStats] = {}

    def begin(self, probes: Probes) -> None:
        """Expect the results of `probes` from now on."""
        self._others = self.stats()
        self._whole = Accumulator(probes.whole_names, small=self._small)
        self._sampled = Accumulator(probes.sampled, small=self._small)

    def add(self, number: int, results: ProbeResults, counts: Mapping[str, int]) -> None:
        """The results of batch `number`; `counts` are the known numbers of elements of sampled tensors."""
        for index in self._whole.add_arrays(results.whole, self._precision):
            self.add_array(self._whole.names[index], results.whole[index])
        flagged = self._add_sampled(results.sampled, {**counts, **results.counts})
        if flagged:
            self.flagged[number] = flagged
        self.add_exact(results.exact)

    def add_array(self, name: str, array: np.ndarray) -> None:
        """Every element of a tensor in one batch."""
        self.add_exact({name: TensorStats.of(array, self._precision, small=self._small)})

    def add_exact(self, stats: Mapping[str, TensorStats]) -> None:
        """Statistics of tensors in one batch."""
        for name, value in stats.items():
            self._others[name] = self._others.get(name, EMPTY).merge(value.as_batch())

    def stats(self) -> dict[str, TensorStats]:
        """Everything that was added, by tensor name."""
        found = {**self._whole.stats(), **self._sampled.stats()}
        return found | {name: found.get(name, EMPTY).merge(value) for name, value in self._others.items()}

    def _add_sampled(self, tensors: Sequence[Reduced], counts: Mapping[str, int]) -> frozenset[str]:
        """The names of the tensors that hold NaN or infinity; they are left out.

        ONNX Runtime's ReduceMax and ReduceMin ignore NaN unless it comes first; a sum of squares is NaN only if an
        element is.
        """
        if not tensors:
            return frozenset()
        names = self._sampled.names
        highest = np.array([float(tensor.highest) for tensor in tensors])
        lowest = np.array([float(tensor.lowest) for tensor in tensors])
        squares = np.array([float(tensor.sum_squares) for tensor in tensors])
        finite = np.isfinite(highest) & np.isfinite(lowest) & ~np.isnan(squares)
        which = np.flatnonzero(finite)
        elements = np.array([counts[name] for name in names])
        self._sampled.add_ranges(which, elements[which], lowest[which], highest[which])
        samples = [tensor.sample for tensor in tensors if tensor.sample is not None]
        if samples:
            for part in segments([_distinct(each, count) for each, count in zip(samples, elements, strict=True)]):
                good = finite[part.which]
                columns = small_columns(part, self._precision)
                self._sampled.add_small(part.which[good], {name: values[good] for name, values in columns.items()})
        return frozenset(names[index] for index in np.flatnonzero(~finite))


def _distinct(sample: np.ndarray, count: int) -> np.ndarray:
    """The sample without the elements that it holds more than once."""
    return sample if count >= sample.size else sample[np.unique(sample_indices(count), return_index=True)[1]]
