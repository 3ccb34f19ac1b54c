"""Reading from the tracking server without a flow: settings, and a log file for other people's messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flows.local.environment import logs_in, set_defaults
from flows.local.home import Home, home


@contextmanager
def reading_session() -> Iterator[Home]:
    """Within it MLflow can be asked; what it and others print goes to a file below the home folder."""
    where = home()
    set_defaults(where)
    import mlflow  # noqa: F401 - installs its log handlers now

    with logs_in(where.logs / "reading.log"):
        yield where
