"""What the stages of a composite model are fed, kept as calibration data for converting each of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autocast_core.composite.execution import Sessions, run_composite
from autocast_core.composite.wiring import Wiring
from autocast_core.data import Batches
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.runtime import Session

_FIRST_RUNS = 4


class _Recorder:
    """A Session that also writes what it is fed to `folder`, one file a run.

    Of the runs on one batch, one a token where the stage generates, the first four are kept and then those whose number
    is a power of two: runs in a row hardly differ, and each holds the whole cache.
    """

    def __init__(self, session: Session, folder: Path) -> None:
        self._session, self._folder = session, folder
        self.input_names: Sequence[str] = session.input_names
        self.output_names: Sequence[str] = session.output_names
        self.backend = session.backend
        self._batch = self._run = 0

    def begin(self, batch: int) -> None:
        """The next run is the first on batch number `batch`."""
        self._batch, self._run = batch, 0

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[Any]:
        # Without a column of the cache there is nothing to measure; what the prompt is does not depend on it.
        if self._run < _FIRST_RUNS or self._run & (self._run - 1) == 0:
            path = self._folder / f"{self._batch:06}-{self._run:06}.npz"
            np.savez(path, **{name: np.asarray(feeds[name]) for name in self.input_names})  # type: ignore[arg-type]
        self._run += 1
        return self._session.run(feeds)

    def close(self) -> None:
        self._session.close()


def record_feeds(
    wiring: Wiring,
    sessions: Sessions,
    batches: Batches,
    wanted: Collection[str],
    folder: Path,
    progress: ProgressCallback = silent,
) -> dict[str, Path]:
    """By stage of `wanted` a folder below `folder` with what the stage is fed by the FP32 stages before it: a .npz file
    for each run, with an array for each input."""
    folders = {name: folder / name for name in wanted}
    for path in folders.values():
        path.mkdir(parents=True)
    recorders = {name: _Recorder(sessions[name], path) for name, path in folders.items()}
    for number, arrays in enumerate(batches):
        progress(Progress("record", number, len(batches), "batches"))
        for recorder in recorders.values():
            recorder.begin(number)
        run_composite(wiring, {**sessions, **recorders}, arrays)
    return folders
