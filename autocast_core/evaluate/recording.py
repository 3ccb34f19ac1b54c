"""The outputs of a model, kept so that several others can be compared with one run of it."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from autocast_core.data import Batches
from autocast_core.evaluate.class_scores import class_score_outputs
from autocast_core.evaluate.metric import joined
from autocast_core.model import WrittenWeights
from autocast_core.runtime import Runtime, Session

_IN_MEMORY_BYTES = 1 << 28
FEW_BATCHES = 4
"""Up to so many, a session does not repay the preparation of its weights."""


class Recording:
    """The outputs of one session over all batches: in memory as far as they are small, else in `folder`.

    `class_outputs` are those with class scores; `weights` lie in `folder`, for models that are compared with it."""

    def __init__(self, session: Session, batches: Batches, folder: Path, class_outputs: frozenset[str]) -> None:
        self.class_outputs = class_outputs
        self.weights = WrittenWeights(folder)
        self.output_names: Sequence[str] = tuple(session.output_names)
        self.input_names: Sequence[str] = tuple(session.input_names)
        self.backend = session.backend
        self._kept: list[list[Any] | Path] = []
        room = _IN_MEMORY_BYTES
        for number, feeds in enumerate(batches):
            outputs = session.run(feeds)
            arrays = [output for output in outputs if isinstance(output, np.ndarray)]
            room -= sum(array.nbytes for array in arrays)
            if room < 0 and len(arrays) == len(outputs) and not any(a.dtype.hasobject for a in arrays):
                path = folder / f"{number}.npz"
                np.savez(path, *outputs)
                self._kept.append(path)
            else:
                self._kept.append(outputs)

    def replay(self) -> Replay:
        """The recording from its beginning."""
        return Replay(self)

    def joined(self) -> dict[str, np.ndarray]:
        """Every output by name, its batches joined as a TaskMetric takes them."""
        return joined(self.output_names, [self.outputs(number) for number in range(len(self._kept))])

    def outputs(self, number: int) -> list[Any]:
        """What the session gave for batch `number`."""
        kept = self._kept[number]
        if isinstance(kept, Path):
            with np.load(kept) as arrays:
                return [arrays[f"arr_{index}"] for index in range(len(self.output_names))]
        return kept


class Replay:
    """A Session that gives the recorded outputs, batch by batch in their order, whatever it is fed."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self._next = recording, 0
        self.input_names, self.output_names = recording.input_names, recording.output_names
        self.backend = recording.backend

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any]:
        self._next += 1
        return self._recording.outputs(self._next - 1)

    def close(self) -> None: ...


@contextmanager
def recorded(
    source: ir.Model, batches: Batches, runtime: Runtime, class_outputs: Collection[str] = ()
) -> Iterator[Recording]:
    """The outputs of the exact model, as long as the context lasts; one evaluation.

    `class_outputs` are those that the user named as class scores, none: as `class_score_outputs` finds. ConfigError
    where there is no such output.
    """
    scores = class_score_outputs(source, class_outputs)
    with tempfile.TemporaryDirectory(prefix="autocast-outputs-") as folder:
        with closing(runtime.open(source, few_runs=len(batches) <= FEW_BATCHES, batches=batches)) as session:
            recording = Recording(session, batches, Path(folder), scores)
        yield recording
