"""A session that takes all batches through one segment before the next, so that each weight is read once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.backends.segments.boundary_files import BoundaryFiles
from autocast_core.backends.segments.boundary_sizes import Lives
from autocast_core.backends.segments.cut_graph import Segment
from autocast_core.backends.segments.lockstep import Lockstep
from autocast_core.data.memory import available_bytes
from autocast_core.errors import BackendError, DataError, OutputError
from autocast_core.model.tensors import release_pages
from autocast_core.model.traverse import all_tensors
from autocast_core.progress import Progress, ProgressCallback
from autocast_core.runtime import FeedsAhead, Session

OpenSegment = Callable[[ir.Model], Session]


class SegmentedSession:
    """A Session over `batches`, whose outputs it gives in their order, whatever it is fed.

    The first `run` of any in its `lockstep` computes all of them: one session at a time, made by `open_segment`; what
    segments hand each other and what the model gives waits on disk. `sizes` are the bytes of boundary tensors of one
    batch, by name, as far as they are known. Before anything runs, OutputError where the disk has no room for them,
    DataError where one is larger than the memory that is free; later too, where sizes show only then. BackendError as
    `open_segment` raises it, for the first segment at once.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        model: ir.Model,
        batches: FeedsAhead,
        open_segment: OpenSegment,
        sizes: Mapping[str, int],
        progress: ProgressCallback,
        lockstep: Lockstep,
    ) -> None:
        self.output_names: Sequence[str] = tuple(str(value.name) for value in model.graph.outputs)
        self.input_names: Sequence[str] = tuple(str(value.name) for value in model.graph.inputs)
        self._segments, self._batches, self._open_segment, self._progress = segments, batches, open_segment, progress
        self._lives = Lives.of(segments, self.output_names)
        self._sizes = dict(sizes)
        self._files = BoundaryFiles()
        try:
            self._require_room(0, len(batches))
            self._first: Session | None = open_segment(segments[0].model)
        except BaseException:
            self._files.close()
            raise
        self.backend = self._first.backend
        self._through = self._released = self._count = self._next = 0
        self._room = (available_bytes() or 0) // 2
        self._failure: Exception | None = None
        self._lockstep = lockstep
        lockstep.join(self, len(segments))

    @property
    def done(self) -> float:
        """The share of its segments that have run; see Member."""
        return 1.0 if self._failure is not None else self._through / len(self._segments)

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any]:
        """Every output of the next batch."""
        if self.done == 0.0:
            self._lockstep.run()
        if self._failure is not None:
            raise self._failure
        if self._next >= self._count:
            raise BackendError("the session has run on all batches that it was opened for; open the model again")
        outputs = [self._files.get(name, self._next) for name in self.output_names]
        self._next += 1
        return outputs

    def close(self) -> None:
        """Frees memory and disk."""
        if self._first is not None:
            self._first.close()
            self._first = None
        self._files.close()

    def advance(self) -> None:
        """Take all batches through the next segment; a failure waits for `run`."""
        number = self._through
        try:
            with closing(self._opened(number)) as session:
                self._run_segment(number, session)
        except Exception as error:  # raised again by `run`: the others of the lockstep go on
            self._failure = error
            self.close()
            return
        for name in self._lives.ended(number):
            self._files.drop(name, self._count)
        self._through += 1
        if self.done == 1.0:
            self._progress(Progress("segments", self._through * self._count, self._total(), "batches"))

    def release(self, share: float) -> None:
        """The weights of the segments that end within `share` are not needed soon. As many of the first as have room in
        half of the memory stay for whatever reads the model next."""
        while self._released < int(share * len(self._segments)):
            tensors = all_tensors(self._segments[self._released].model)
            for tensor in tensors:
                if isinstance(tensor, ir.ExternalTensor):
                    self._room -= tensor.nbytes
                    if self._room < 0:
                        release_pages(tensor)
            self._released += 1

    def _opened(self, number: int) -> Session:
        if number == 0:
            first, self._first = self._first, None
            assert first is not None, "computed twice"
            return first
        segment = self._segments[number]
        for value in segment.model.graph.inputs:
            if value.name in self._lives.begin:
                _declare(value, self._files.get(str(value.name), 0))
        return self._open_segment(segment.model)

    def _run_segment(self, number: int, session: Session) -> None:
        segment = self._segments[number]
        given = [name for name in segment.reads if name not in self._lives.begin]
        waiting = [name for name in segment.reads if name in self._lives.begin]
        batches = iter(self._batches) if given or number == 0 else None
        batch = 0
        while batches is not None or batch < self._count:
            feeds: dict[str, Any] = {}
            if batches is not None:
                read = next(batches, None)
                if read is None:
                    break
                feeds = {name: read[name] for name in given if name in read}
            self._progress(Progress("segments", number * max(self._count, 1) + batch, self._total(), "batches"))
            outputs = session.run(feeds | {name: self._files.get(name, batch) for name in waiting})
            if batch == 0:
                self._learn(number, segment, outputs)
            for name, value in zip(segment.makes, outputs, strict=True):
                self._files.put(name, batch, value)
            batch += 1
        if number == 0:
            self._count = batch

    def _total(self) -> float:
        return float(len(self._segments) * (self._count or len(self._batches)))

    def _learn(self, number: int, segment: Segment, outputs: Sequence[Any]) -> None:
        """The sizes of one batch, now that they are known."""
        found = {n: v.nbytes for n, v in zip(segment.makes, outputs, strict=True) if isinstance(v, np.ndarray)}
        unknown = found.keys() - self._sizes.keys()
        self._sizes |= found
        if unknown:
            self._require_room(number, len(self._batches) if number == 0 else self._count)

    def _require_room(self, number: int, batches: int) -> None:
        """That what is still to be written, from segment `number` on, has room on disk and each of it in memory."""
        memory = available_bytes()
        name = max(self._sizes, key=self._sizes.__getitem__, default="")
        largest = self._sizes.get(name, 0)
        if memory is not None and largest > memory:
            raise DataError(
                f"tensor {name!r}, which crosses from one segment of the model to another, takes {_gib(largest)} for"
                f" one batch, {_gib(memory)} of memory are free: give smaller batches (--batch_size, or fewer samples a"
                " file), or another number of --segments"
            )
        free = shutil.disk_usage(self._files.folder).free
        needed = self._lives.most_bytes(self._sizes, number) * batches - self._files.bytes
        if needed > free:
            raise OutputError(
                f"{self._files.folder.parent}: the model runs in {len(self._segments)} segments, between which"
                f" {needed} bytes of tensors wait on disk for {batches} batches, {free} bytes are free: make room, set"
                " TMPDIR to a folder with room, or give fewer samples"
            )


def _declare(tensor: ir.Value, found: Any) -> None:
    """Says of a boundary tensor what is known since it was `found`: a type, where a node made it that was added for a
    measurement, and no shape that it does not have. Sessions mind that of inputs alone."""
    if tensor.type is None:
        tensor.type = _type_of(found)
    if tensor.shape is not None and isinstance(found, np.ndarray):
        dims = tuple(tensor.shape)
        fits = len(dims) == found.ndim and all(
            not isinstance(dim, int) or dim == length for dim, length in zip(dims, found.shape, strict=True)
        )
        if not fits:
            tensor.shape = None


def _type_of(value: Any) -> ir.TypeProtocol:
    if isinstance(value, np.ndarray):
        return ir.TensorType(ir.DataType.STRING if value.dtype.hasobject else ir.DataType.from_numpy(value.dtype))
    return ir.SequenceType(_type_of(np.asarray(value[0]) if value else np.zeros(0, np.float32)))


def _gib(number: int) -> str:
    return f"{number / 2**30:.2f} GiB"
