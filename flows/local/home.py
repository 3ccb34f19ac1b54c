"""The one folder in which everything the flow keeps on this machine lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folders below `root`; none is made before it is needed."""

    root: Path

    @property
    def cache(self) -> Path:
        """Fetched models and data, by content."""
        return self.root / "cache"

    @property
    def work(self) -> Path:
        """Intermediate files of runs in progress."""
        return self.root / "work"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def running(self) -> Path:
        """A marker for each run in progress."""
        return self.root / "running"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def tracking_uri(self) -> str:
        """The MLflow store that is used where none is set."""
        return f"sqlite:///{self.root / 'mlflow.db'}"


def home() -> Home:
    """AUTOCAST_HOME, else ``.autocast`` in the current folder."""
    return Home(Path(os.environ.get("AUTOCAST_HOME") or ".autocast"))
