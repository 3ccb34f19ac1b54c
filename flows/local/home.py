"""The one folder in which everything the flow keeps on this machine lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tasks.settings import home_folder


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
    def server(self) -> Path:
        """What tells commands of Prefect's embedded server."""
        return self.prefect / "server"

    @property
    def forks(self) -> Path:
        """Where commands find the process that forks for them."""
        return self.prefect / "forks"


def home() -> Home:
    """AUTOCAST_HOME, else ``.autocast`` in the current folder."""
    return Home(home_folder(os.environ))
