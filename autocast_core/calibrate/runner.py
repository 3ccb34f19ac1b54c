"""Running the instrumented model over the calibration data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.instrument import STACKED_TENSORS, Probes, instrumented, instrumented_exactly
from autocast_core.calibrate.observations import Observations
from autocast_core.calibrate.rearrangements import with_rearranged
from autocast_core.calibrate.statistics import Statistics
from autocast_core.calibrate.tensor_sizes import FLOAT_BYTES, Sizes, peak_bytes, sizes_of
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
"""Up to here calibration takes about a second, which more threads shorten little and make up to a fifth dearer."""


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
    calibrated = _Calibrated(model, precision, small_values and precision is Precision.FP16, runtime)
    try:
        observations, backend = _first_pass(calibrated, batches, progress)
        if observations.flagged:
            _second_pass(calibrated, observations, batches)
    except BackendError as error:
        _LOG.warning("no calibration: %s", error)
        return Statistics(skipped=str(error))
    stats = with_rearranged(model.graph, observations.stats())
    return Statistics(stats, len(batches), batches.origin, batches.digest, backend)


@dataclass(frozen=True)
class _Calibrated:
    """The model, what is measured of it, and what runs it."""

    model: ir.Model
    precision: Precision
    small: bool
    runtime: Runtime

    def open(self, sizes: Sizes, one_thread: bool, stacked: int) -> tuple[Session, Probes]:
        """A session of the instrumented model, and what its outputs are."""
        with instrumented(self.model, sizes, self.precision, self.small, stacked) as probes:
            return self.runtime.open(self.model, exact=True, few_runs=True, one_thread=one_thread), probes

    def open_part(self, names: Sequence[str]) -> tuple[Session, Probes]:
        """A session of the part of the model that computes the tensors `names`, with exact statistics of them."""
        graph = ir.convenience.extract(self.model.graph, list(self.model.graph.inputs), names)
        part = ir.Model(graph, ir_version=self.model.ir_version)
        with instrumented_exactly(part, names, self.precision, self.small) as probes:
            return self.runtime.open(part, exact=True, few_runs=True), probes


def _first_pass(calibrated: _Calibrated, batches: Batches, progress: ProgressCallback) -> tuple[Observations, str]:
    """What all batches show, and what ran them.

    One session for batches of one shape; where another shape comes, a second one that knows static sizes only.
    """
    model = calibrated.model
    observations = Observations(calibrated.precision, small=calibrated.small)
    first = next(iter(batches))
    shapes: dict[str, tuple[int, ...]] | None = _shapes(first)
    sizes = sizes_of(model, first)
    del first
    _check_memory(model, sizes)
    alone = len(batches) <= _FEW_BATCHES and sum(map(stored_bytes, all_tensors(model))) <= _SMALL_MODEL_BYTES
    stacked = STACKED_TENSORS
    session, probes = calibrated.open(sizes, alone, stacked)
    try:
        observations.begin(probes)
        for number, feeds in enumerate(batches):
            progress(Progress("calibrate", number, len(batches), "batches"))
            if shapes is not None and _shapes(feeds) != shapes:
                session.close()
                shapes, sizes = None, sizes_of(model, {})
                session, probes = calibrated.open(sizes, alone, stacked)
                observations.begin(probes)
            try:
                outputs = session.run(feeds)
            except BackendError:
                if stacked == 1:
                    raise
                # Perhaps the model declares other shapes than it computes, and only the stacks mind that.
                session.close()
                stacked = 1
                session, probes = calibrated.open(sizes, alone, stacked)
                observations.begin(probes)
                outputs = session.run(feeds)
            observations.add(number, probes.decode(outputs), sizes.counts)
            del outputs  # the next batch needs the room
    finally:
        session.close()
    progress(Progress("calibrate", len(batches), len(batches), "batches"))
    return observations, session.backend


def _second_pass(calibrated: _Calibrated, observations: Observations, batches: Batches) -> None:
    """Exact statistics of the tensors that held NaN or infinity, in the batches where they did.

    Only the part of the model that computes them runs.
    """
    inputs = {str(value.name) for value in calibrated.model.graph.inputs}
    names = sorted(frozenset().union(*observations.flagged.values()) - inputs)
    session, probes = calibrated.open_part(names) if names else (None, None)
    try:
        for number, feeds in enumerate(batches):
            flagged = observations.flagged.get(number, frozenset())
            for name in flagged & inputs:
                observations.add_array(name, feeds[name])
            if session is not None and probes is not None and flagged - inputs:
                exact = probes.decode(session.run(feeds)).exact
                observations.add_exact({name: exact[name] for name in flagged - inputs})
    finally:
        if session is not None:
            session.close()


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
