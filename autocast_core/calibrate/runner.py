"""Running the instrumented model over the calibration data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.instrument import (
    STACKED_TENSORS,
    Probes,
    instrumented,
    instrumented_exactly,
    sample_indices,
)
from autocast_core.calibrate.probes import stats_of
from autocast_core.calibrate.sizes import FLOAT_BYTES, Sizes, peak_bytes, sizes_of
from autocast_core.calibrate.statistics import EMPTY, Statistics, TensorStats
from autocast_core.calibrate.totals import Totals, segments, small_columns
from autocast_core.calibrate.views import with_views
from autocast_core.config import Precision
from autocast_core.data.batches import Batches
from autocast_core.data.memory import available_bytes
from autocast_core.errors import BackendError, DataError
from autocast_core.graph.constants import stored_bytes
from autocast_core.model.traverse import all_tensors
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Runtime, Session

_LOG = logging.getLogger(__name__)
_FEW_BATCHES, _SMALL_MODEL_BYTES = 4, 1 << 29
"""Up to here calibration takes about a second, which further threads shorten little and make up to a fifth dearer."""


def calibrate(
    model: ir.Model,
    batches: Batches,
    runtime: Runtime,
    precision: Precision,
    *,
    small_values: bool = True,
    progress: ProgressCallback = silent,
) -> Statistics:
    """Statistics of every float tensor of `model` (inputs, node outputs, and all values of bodies) over `batches`.

    One session runs all batches; memory is that of one FP32 inference. Small-value quantities are measured for FP16
    if `small_values`. Where the runtime cannot run the model: no statistics, and `skipped` says why. `model` is
    changed while its session is opened and put back. DataError where a batch does not fit the model or the memory.
    """
    small = small_values and precision is Precision.FP16
    gathered = _Gathered(model, precision, small)
    try:
        _first_pass(gathered, batches, runtime, progress)
        if gathered.flagged:
            _second_pass(gathered, batches, runtime)
    except BackendError as error:
        _LOG.warning("no calibration: %s", error)
        return Statistics(skipped=str(error))
    stats = with_views(model.graph, gathered.stats())
    return Statistics(stats, len(batches), batches.origin, batches.digest, gathered.backend)


@dataclass
class _Gathered:
    """What is known so far: tensors of the main graph in `whole` and `sampled`, everything else in `others`.

    `flagged` names by batch number the sampled tensors that held NaN or infinity there; that batch of theirs is left to
    the second pass.
    """

    model: ir.Model
    precision: Precision
    small: bool
    backend: str = ""
    whole: Totals = field(default_factory=lambda: Totals((), small=False))
    sampled: Totals = field(default_factory=lambda: Totals((), small=False))
    others: dict[str, TensorStats] = field(default_factory=dict)
    flagged: dict[int, set[str]] = field(default_factory=dict)

    @property
    def measured(self) -> Precision:
        """For TensorStats.of: FP32 has no small values to measure."""
        return self.precision if self.small else Precision.FP32

    def merge(self, stats: Mapping[str, TensorStats]) -> None:
        for name, value in stats.items():
            self.others[name] = self.others.get(name, EMPTY).merge(value)

    def fold(self) -> None:
        """Move what `whole` and `sampled` hold to `others`."""
        self.others = self.stats()
        self.whole, self.sampled = Totals((), small=self.small), Totals((), small=self.small)

    def stats(self) -> dict[str, TensorStats]:
        found = {**self.whole.stats(), **self.sampled.stats()}
        return found | {name: found.get(name, EMPTY).merge(value) for name, value in self.others.items()}


def _first_pass(gathered: _Gathered, batches: Batches, runtime: Runtime, progress: ProgressCallback) -> None:
    """One session for batches of one shape; where another shape comes, a second one that knows static sizes only."""
    first = next(iter(batches))
    shapes: dict[str, tuple[int, ...]] | None = _shapes(first)
    sizes = sizes_of(gathered.model, first)
    del first
    _check_memory(gathered.model, sizes)
    alone = len(batches) <= _FEW_BATCHES and sum(map(stored_bytes, all_tensors(gathered.model))) <= _SMALL_MODEL_BYTES
    stacked = STACKED_TENSORS
    session, probes = _open(gathered, sizes, runtime, alone, stacked)
    try:
        for number, feeds in enumerate(batches):
            progress(Progress("calibrate", number, len(batches), "batches"))
            if shapes is not None and _shapes(feeds) != shapes:
                session.close()
                shapes, sizes = None, sizes_of(gathered.model, {})
                session, probes = _open(gathered, sizes, runtime, alone, stacked)
            try:
                outputs = session.run(feeds)
            except BackendError:
                if stacked == 1:
                    raise
                # Perhaps the model declares other shapes than it computes, and only the stacks mind that.
                session.close()
                stacked = 1
                session, probes = _open(gathered, sizes, runtime, alone, stacked)
                outputs = session.run(feeds)
            _add(gathered, probes, sizes, number, outputs)
            del outputs  # the next batch needs the room
    finally:
        session.close()
    progress(Progress("calibrate", len(batches), len(batches), "batches"))


def _open(gathered: _Gathered, sizes: Sizes, runtime: Runtime, alone: bool, stacked: int) -> tuple[Session, Probes]:
    """A session of the instrumented model, with new totals for what it puts out; the old ones are added up."""
    gathered.fold()
    with instrumented(gathered.model, sizes, gathered.precision, gathered.small, stacked) as probes:
        session = runtime.open(gathered.model, exact=True, few_runs=True, one_thread=alone)
    gathered.backend = session.backend
    gathered.whole = Totals([name for stack in probes.whole for name in stack.names], small=gathered.small)
    gathered.sampled = Totals(probes.sampled, small=gathered.small)
    return session, probes


def _add(gathered: _Gathered, probes: Probes, sizes: Sizes, number: int, outputs: Sequence[np.ndarray]) -> None:
    """One batch's outputs."""
    rest = iter(outputs)
    _add_whole(gathered, [each for stack in probes.whole for each in stack.tensors(next(rest))])
    rows = [list(islice(rest, 4 if probes.small else 3)) for _ in probes.sampled]
    seen = {name: int(count) for names, count in zip(probes.sizes, rest, strict=False) for name in names}
    flagged = _add_sampled(gathered, rows, {**sizes.counts, **seen})
    if flagged:
        gathered.flagged[number] = flagged
    if probes.exact:
        gathered.merge(stats_of(probes.exact, list(rest), probes.small))


def _add_whole(gathered: _Gathered, arrays: Sequence[np.ndarray]) -> None:
    for index in gathered.whole.add_arrays(arrays, gathered.precision):
        gathered.merge({gathered.whole.names[index]: TensorStats.of(arrays[index], gathered.measured)})


def _add_sampled(gathered: _Gathered, rows: Sequence[Sequence[np.ndarray]], counts: Mapping[str, int]) -> set[str]:
    """The names of the tensors that hold NaN or infinity; they are left out.

    ONNX Runtime's ReduceMax and ReduceMin ignore NaN unless it comes first; a sum of squares is NaN only if an element
    is.
    """
    if not rows:
        return set()
    names = gathered.sampled.names
    highest, lowest, squares = (np.array([float(row[column]) for row in rows]) for column in range(3))
    finite = np.isfinite(highest) & np.isfinite(lowest) & ~np.isnan(squares)
    which = np.flatnonzero(finite)
    elements = np.array([counts[name] for name in names])
    gathered.sampled.add_ranges(which, elements[which], lowest[which], highest[which])
    if gathered.small:
        for part in segments([_distinct(row[3], count) for row, count in zip(rows, elements, strict=True)]):
            good = finite[part.which]
            columns = small_columns(part, gathered.precision)
            gathered.sampled.add_small(part.which[good], {name: values[good] for name, values in columns.items()})
    return {names[index] for index in np.flatnonzero(~finite)}


def _distinct(sample: np.ndarray, count: int) -> np.ndarray:
    """The sample without the elements that it holds more than once."""
    return sample if count >= sample.size else sample[np.unique(sample_indices(count), return_index=True)[1]]


def _second_pass(gathered: _Gathered, batches: Batches, runtime: Runtime) -> None:
    """Exact statistics of the tensors that held NaN or infinity, in the batches where they did.

    Only the part of the model that computes them runs.
    """
    inputs = {str(value.name) for value in gathered.model.graph.inputs}
    names = sorted(set().union(*gathered.flagged.values()) - inputs)
    session, probes = _open_part(gathered, names, runtime) if names else (None, None)
    try:
        for number, feeds in enumerate(batches):
            if number not in gathered.flagged:
                continue
            flagged = gathered.flagged[number]
            gathered.merge({name: TensorStats.of(feeds[name], gathered.measured) for name in flagged & inputs})
            if session is not None and probes is not None and flagged - inputs:
                stats = stats_of(probes.exact, session.run(feeds), gathered.small)
                gathered.merge({name: stats[name] for name in flagged - inputs})
    finally:
        if session is not None:
            session.close()


def _open_part(gathered: _Gathered, names: Sequence[str], runtime: Runtime) -> tuple[Session, Probes]:
    """A session of the part of the model that computes the tensors `names`, with exact statistics of them."""
    graph = ir.convenience.extract(gathered.model.graph, list(gathered.model.graph.inputs), names)
    part = ir.Model(graph, ir_version=gathered.model.ir_version)
    with instrumented_exactly(part, names, gathered.precision, gathered.small) as probes:
        return runtime.open(part, exact=True, few_runs=True), probes


def _shapes(feeds: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(value) for name, value in feeds.items()}


def _check_memory(model: ir.Model, sizes: Sizes) -> None:
    free = available_bytes()
    if free is None or sum(sizes.counts.values()) * FLOAT_BYTES <= free:
        return  # there is room for all tensors at once
    needed = peak_bytes(model, sizes.counts)
    if needed > free:
        raise DataError(
            f"one inference of a calibration batch takes at least {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of"
            " memory are free; give smaller batches (--batch_size, or fewer samples a file)"
        )
