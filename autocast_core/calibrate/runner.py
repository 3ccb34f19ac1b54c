"""Running the instrumented model over the calibration data.

Batches are measured in stretches of STRETCH. What a stretch shows depends on its own batches and on the shapes of the
data's first batch alone, and stretches are merged in the order of the data: so whoever measures them, in one process or
in many, comes to the same statistics, to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import reduce
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.instrument import STACKED_TENSORS, Probes, instrumented, instrumented_exactly
from autocast_core.calibrate.observations import Observations
from autocast_core.calibrate.rearrangements import with_rearranged
from autocast_core.calibrate.statistics import Statistics
from autocast_core.calibrate.tensor_sizes import FLOAT_BYTES, Sizes, peak_bytes, sizes_of
from autocast_core.config import Precision
from autocast_core.data.batches import Batches, between
from autocast_core.data.memory import available_bytes
from autocast_core.errors import BackendError, DataError
from autocast_core.graph.constants import stored_bytes
from autocast_core.model.traverse import all_tensors
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import FeedsAhead, Runtime, Session

STRETCH = 32
"""Batches whose sums are added up among themselves, before they join those of earlier ones."""
_FEW_BATCHES, _SMALL_MODEL_BYTES = 4, 1 << 29
"""Up to here calibration takes about a second, which more threads shorten little and make up to a fifth dearer."""
Feeds = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


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
    calibrated = Calibrated(model, precision, small_values and precision is Precision.FP16, runtime)
    span = BatchSpan(batches, 0, len(batches))
    shapes = _shapes(next(iter(batches)))
    try:
        return merged(model, stretches(calibrated, span, shapes, progress), batches.digest)
    except BackendError as error:
        return Statistics(skipped=str(error))


def merged(model: ir.Model, parts: Iterable[Statistics], digest: str) -> Statistics:
    """The statistics of `model` from those of its data's stretches, in their order; `digest` identifies the data."""
    total = reduce(Statistics.merge, parts, Statistics())
    return replace(total, tensors=with_rearranged(model.graph, total.tensors), digest=digest)


@dataclass(frozen=True)
class BatchSpan:
    """Those of `batches` from number `start` to before `stop`; a span of several stretches begins with one."""

    batches: Batches
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return between(self.batches, self.start, self.stop)

    def part(self, start: int, count: int) -> BatchSpan:
        """The `count` batches from `start` on, as far as there are so many; `start` counts from the span's."""
        begin = self.start + start
        return BatchSpan(self.batches, begin, min(begin + count, self.stop))


@dataclass(frozen=True)
class _OneKind:
    """The batches of `span` that have these `shapes`, or, unless they are `alike`, all others.

    Its length is that of `span`, the most that there can be: telling batches apart means reading them.
    """

    span: BatchSpan
    shapes: Shapes
    alike: bool

    def __len__(self) -> int:
        return len(self.span)

    def __iter__(self) -> Iterator[Feeds]:
        return (feeds for feeds in self.span if (_shapes(feeds) == self.shapes) is self.alike)


@dataclass(frozen=True)
class _Chosen:
    """The batches of `span` whose numbers are in `numbers`."""

    span: BatchSpan
    numbers: Set[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[Feeds]:
        return (feeds for number, feeds in enumerate(self.span, self.span.start) if number in self.numbers)


@dataclass(frozen=True)
class Calibrated:
    """The model, what is measured of it, and what runs it."""

    model: ir.Model
    precision: Precision
    small: bool
    runtime: Runtime

    def open(self, sizes: Sizes, one_thread: bool, stacked: int, batches: FeedsAhead) -> tuple[Session, Probes]:
        """A session of the instrumented model for `batches`, and what its outputs are."""
        with instrumented(self.model, sizes, self.precision, self.small, stacked) as probes:
            session = self.runtime.open(self.model, exact=True, few_runs=True, one_thread=one_thread, batches=batches)
            return session, probes

    def open_part(self, names: Sequence[str], batches: FeedsAhead) -> tuple[Session, Probes]:
        """A session for `batches` of the part of the model that computes the tensors `names`, with exact statistics of
        them."""
        graph = ir.convenience.extract(self.model.graph, list(self.model.graph.inputs), names)
        part = ir.Model(graph, ir_version=self.model.ir_version)
        with instrumented_exactly(part, names, self.precision, self.small) as probes:
            return self.runtime.open(part, exact=True, few_runs=True, batches=batches), probes


def stretches(
    calibrated: Calibrated, span: BatchSpan, shapes: Shapes, progress: ProgressCallback = silent
) -> Iterator[Statistics]:
    """The statistics of each stretch of `span` in order, without their digest and those of tensors that rearrange
    others; `shapes` are those of the data's first batch.

    Raises BackendError where the runtime cannot run the model, DataError as `calibrate`.
    """
    with closing(_Sessions(calibrated, shapes, span)) as sessions:
        feeds = iter(span)
        for start in range(0, len(span), STRETCH):
            part = span.part(start, STRETCH)
            found = _measured(sessions, part, islice(feeds, STRETCH), progress)
            if found.flagged:
                _measure_flagged(calibrated, found, part)
            yield Statistics(found.stats(), len(part), span.batches.origin, backend=sessions.backend)
    progress(Progress("calibrate", len(span), len(span), "batches"))


class _Sessions:
    """The sessions of one calibration over `span`, opened when first needed and kept: of the instrumented model one for
    batches of these `shapes` and one, that knows static sizes only, for all others."""

    def __init__(self, calibrated: Calibrated, shapes: Shapes, span: BatchSpan) -> None:
        self.calibrated = calibrated
        self._span = span
        self.stacked = STACKED_TENSORS
        self.backend = ""
        self._shapes = dict(shapes)
        # Arrays of these shapes without elements of their own.
        like = {name: np.broadcast_to(np.float32(0.0), dims) for name, dims in shapes.items()}
        self._sizes = sizes_of(calibrated.model, like)
        _check_memory(calibrated.model, self._sizes)
        model_bytes = sum(map(stored_bytes, all_tensors(calibrated.model)))
        self._alone = len(span) <= _FEW_BATCHES and model_bytes <= _SMALL_MODEL_BYTES
        self._open: dict[bool, tuple[Session, Probes, Sizes]] = {}

    def of(self, number: int, feeds: Feeds) -> tuple[Session, Probes, Sizes]:
        """The session for batch `number`, what its outputs are, and the sizes that it knows."""
        known = _shapes(feeds) == self._shapes
        if known not in self._open:
            sizes = self._sizes if known else sizes_of(self.calibrated.model, {})
            rest = BatchSpan(self._span.batches, number, self._span.stop)
            ahead = _OneKind(rest, self._shapes, known)
            session, probes = self.calibrated.open(sizes, self._alone, self.stacked, ahead)
            self._open[known] = session, probes, sizes
            self.backend = session.backend
        return self._open[known]

    def unstacked(self) -> None:
        """From now on every small tensor is an output of its own."""
        self.close()
        self.stacked = 1

    def close(self) -> None:
        for session, _, _ in self._open.values():
            session.close()
        self._open.clear()


def _measured(sessions: _Sessions, part: BatchSpan, feeds: Iterator[Feeds], progress: ProgressCallback) -> Observations:
    """What the batches of one stretch show, which `feeds` gives once."""
    try:
        return _first_pass(sessions, part, feeds, progress)
    except BackendError:
        if sessions.stacked == 1:
            raise
        # Perhaps the model declares other shapes than it computes, and only the stacks mind that.
        sessions.unstacked()
        deque(feeds, maxlen=0)
        return _first_pass(sessions, part, iter(part), progress)


def _first_pass(
    sessions: _Sessions, part: BatchSpan, feeds: Iterator[Feeds], progress: ProgressCallback
) -> Observations:
    calibrated = sessions.calibrated
    observations = Observations(calibrated.precision, small=calibrated.small)
    expected: Probes | None = None
    for number, batch in enumerate(feeds, part.start):
        progress(Progress("calibrate", number, len(part.batches), "batches"))
        session, probes, sizes = sessions.of(number, batch)
        if probes is not expected:
            observations.begin(probes)
            expected = probes
        outputs = session.run(batch)
        observations.add(number, probes.decode(outputs), sizes.counts)
        del outputs  # the next batch needs the room
    return observations


def _measure_flagged(calibrated: Calibrated, observations: Observations, part: BatchSpan) -> None:
    """Exact statistics of the tensors that held NaN or infinity, in the batches of a stretch where they did.

    Only the part of the model that computes them runs.
    """
    inputs = {str(value.name) for value in calibrated.model.graph.inputs}
    names = sorted(frozenset().union(*observations.flagged.values()) - inputs)
    ahead = _Chosen(part, {number for number, flagged in observations.flagged.items() if flagged - inputs})
    with ExitStack() as stack:
        if names:
            session, probes = calibrated.open_part(names, ahead)
            stack.callback(session.close)
        for number, feeds in enumerate(part, part.start):
            flagged = observations.flagged.get(number, frozenset())
            for name in flagged & inputs:
                observations.add_array(name, feeds[name])
            if flagged - inputs:
                exact = probes.decode(session.run(feeds)).exact
                observations.add_exact({name: exact[name] for name in flagged - inputs})


def _shapes(feeds: Feeds) -> dict[str, tuple[int, ...]]:
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
