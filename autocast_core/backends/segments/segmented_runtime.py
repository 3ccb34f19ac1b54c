"""A runtime that runs models whole where memory holds them, else in segments."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from autocast_core.backends.onnxruntime.random_numbers import seeded
from autocast_core.backends.segments.boundary_sizes import boundary_bytes
from autocast_core.backends.segments.cut_graph import Segment, cut_graph, derived_bytes, weight_bytes
from autocast_core.backends.segments.lockstep import Lockstep
from autocast_core.backends.segments.segmented_session import SegmentedSession
from autocast_core.calibrate.tensor_sizes import declared_sizes, peak_bytes, sizes_of
from autocast_core.data.memory import available_bytes
from autocast_core.progress import ProgressCallback, silent
from autocast_core.runtime import FeedsAhead, Runtime, RuntimeModel, Session

_LOG = logging.getLogger(__name__)
_SHARE = 6
"""One segment's weights take at most this part of the memory that activations leave. The rest is for what is computed
of weights while they are there: rounded twins and their differences in an attribution, FP32 copies of 16-bit ones."""
_COPIES_OF_OPTIMISED = 3
"""Sizes of a model's weights that a session may take which optimises the graph: the mapped file, what was computed of
them beforehand (16-bit ones as FP32 count twice), and the repacked ones of several runs."""
_MOST_COPIES = 16
"""A model whose weights fit so many times is not looked at closer."""


@dataclass(frozen=True)
class SegmentedRuntime:
    """Opens models in `whole`, in segments where that was asked for or where they need more memory than is free.

    Only sessions that are told their batches can run in segments. `parts` is the number of segments, None: as many as
    memory asks for. Sessions in segments join the `lockstep`; None: each runs alone. See SegmentedSession for what is
    raised.
    """

    whole: Runtime
    parts: int | None = None
    progress: ProgressCallback = silent
    lockstep: Lockstep | None = None

    @property
    def name(self) -> str:
        return self.whole.name

    def open(
        self,
        model: ir.Model,
        *,
        exact: bool = False,
        few_runs: bool = False,
        one_thread: bool = False,
        content: RuntimeModel | None = None,
        batches: FeedsAhead | None = None,
    ) -> Session:
        """A session; see Runtime."""
        lockstep = self.lockstep or Lockstep()
        parts = 1
        if batches is not None:
            parts = self.parts or max(needed_parts(model, batches, optimised=not exact), lockstep.parts)
        if batches is not None and parts > 1:
            model = seeded(model)
            segments = cut_graph(model, parts)
            if len(segments) > 1:
                return SegmentedSession(
                    segments,
                    model,
                    batches,
                    lambda part: self.whole.open(part, exact=exact, few_runs=few_runs, one_thread=one_thread),
                    _boundary_bytes(model, segments, _first(batches)),
                    self.progress,
                    lockstep,
                )
        return self.whole.open(model, exact=exact, few_runs=few_runs, one_thread=one_thread, content=content)


def needed_parts(model: ir.Model, batches: FeedsAhead, *, optimised: bool) -> int:
    """In how many segments `model` runs within the memory that is free, at most one for each node that reads weights; 1
    where it fits whole.

    What a run takes is estimated as its weights, thrice where the session is `optimised`, what nodes make of weights
    alone, and the activations of one batch (peak_bytes). Weights that files hold are mapped: the system can take their
    pages back, but reads them again for each batch then, and limits such as RLIMIT_DATA count them.
    """
    free = available_bytes()
    stored = weight_bytes(model)
    if free is None or stored * _MOST_COPIES <= free:
        return 1
    weights = stored * (_COPIES_OF_OPTIMISED if optimised else 1) + derived_bytes(model)
    activations = peak_bytes(model, declared_sizes(model, _first(batches)).counts)
    if weights + activations <= free:
        return 1
    most = sum(1 for node in model.graph if any(value.const_value is not None for value in node.inputs if value))
    parts = min(-(-weights * _SHARE // max(free - activations, free // 4, 1)), max(most, 1))
    _LOG.info(
        "the model needs about %.1f GiB, %.1f GiB of memory are free: it runs in at least %d segments",
        (weights + activations) / 2**30,
        free / 2**30,
        parts,
    )
    return parts


def _first(batches: FeedsAhead) -> Mapping[str, np.ndarray]:
    return next(iter(batches), {})


def _boundary_bytes(model: ir.Model, segments: Sequence[Segment], feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
    """By boundary tensor the bytes for a batch like `feeds`, as far as shape inference tells.

    It looks at what leads to boundary tensors alone: of graphs that were instrumented for a calibration it takes
    minutes and gigabytes.
    """
    made = {name for segment in segments for name in segment.makes}
    names = sorted({name for segment in segments for name in segment.reads} & made)
    if not names:
        return {}
    graph = ir.convenience.extract(model.graph, list(model.graph.inputs), names)
    return boundary_bytes(model, names, sizes_of(ir.Model(graph, ir_version=model.ir_version), feeds).counts)
