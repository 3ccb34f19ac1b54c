"""Boundary tensors on disk: a file for each tensor and batch, for as long as a segment still reads it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from autocast_core.process.full_disk import full_disk_told


class BoundaryFiles:
    """Values by name and number of a batch, in a temporary folder below TMPDIR.

    Sequences and texts, which are rare and small, stay in memory. OutputError where the disk is full.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="autocast-segments-")
        self.folder = Path(self._folder.name)
        self._kept: dict[tuple[str, int], Any] = {}
        self._numbers: dict[str, int] = {}
        self.bytes = 0
        """What lies on disk now."""

    def put(self, name: str, batch: int, value: Any) -> None:
        """Keep `value`."""
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            self._kept[name, batch] = value
            return
        # Types that numpy does not know, such as BF16, come back from a file as mere bytes.
        self._kept[name, batch] = value.dtype
        with full_disk_told():
            np.save(self._path(name, batch), value, allow_pickle=False)
        self.bytes += self._path(name, batch).stat().st_size

    def get(self, name: str, batch: int) -> Any:
        """What was put."""
        kept = self._kept[name, batch]
        if not isinstance(kept, np.dtype):
            return kept
        return np.load(self._path(name, batch), allow_pickle=False).view(kept)

    def drop(self, name: str, batches: int) -> None:
        """Forget what was put under `name` for the first `batches`."""
        for batch in range(batches):
            if isinstance(self._kept.pop((name, batch), None), np.dtype):
                path = self._path(name, batch)
                self.bytes -= path.stat().st_size
                path.unlink()

    def close(self) -> None:
        """Remove the folder."""
        self._kept.clear()
        self._folder.cleanup()

    def _path(self, name: str, batch: int) -> Path:
        return self.folder / f"{self._numbers.setdefault(name, len(self._numbers))}.{batch}.npy"
