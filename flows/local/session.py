"""Sessions of a command: settings, a log file for messages of Prefect and MLflow, and Prefect's embedded server.

No settings are read from files in the current folder.

`flow_session` is for commands that run a flow, `reading_session` for commands that only read from the tracking server.
While the embedded server starts, the process imports MLflow and migrates its database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from importlib import import_module
from pathlib import Path

from autocast_core.errors import OutputError
from autocast_core.process.garbage_collector import keep_for_good
from flows.local.embedded_server import EmbeddedServer, embedded_server, idle_seconds_of
from flows.local.environment import logs_in, settled_home
from flows.local.forks.alike import process_key
from flows.local.forks.launch import keep_fork_server
from flows.local.home import Home
from flows.local.prefect_errors import prefect_errors
from tasks.progress import Listener, listening, stage


@contextmanager
def flow_session(listener: Listener, *, tracking: bool = True) -> Iterator[Path]:
    """Prepares this process for calling flows and yields the log file. `tracking`: whether the run will be tracked.

    OutputError where the home folder cannot be written or is another user's, ServiceError where the embedded server
    does not start. Errors of Prefect's client within the block are raised as AutocastErrors.
    """
    where = settled_home()
    log = log_file(where)
    with ExitStack() as stack:
        stack.enter_context(listening(listener))
        embedded = not os.environ.get("PREFECT_API_URL")
        first = embedded and not (where.prefect / "prefect.db").exists()
        with stage("start for the first time" if first else "start"):
            # Before packages are imported, which may change the environment.
            key = process_key(os.environ) if embedded else ""
            server = stack.enter_context(_server(where)) if embedded else None
            with keep_for_good():
                for noisy in ("flows.convert_model", "mlflow"):
                    import_module(noisy)
                stack.enter_context(logs_in(log))
                stack.enter_context(_events_sent())
                _wait(server, tracking)
            if server is not None:
                stack.enter_context(without_heartbeats())
                # Without one, further commands run by themselves.
                with suppress(OSError):
                    if idle_seconds_of(os.environ):
                        keep_fork_server(where.forks, key, server.folder, os.environ)
        stack.enter_context(prefect_errors())
        yield log


@contextmanager
def reading_session() -> Iterator[Home]:
    """Prepares this process for reading from MLflow; messages of packages go to a log file. Yields the home folder.

    OutputError where that is another user's.
    """
    where = settled_home()
    import mlflow  # noqa: F401 - installs its log handlers now

    with logs_in(where.logs / "reading.log"):
        yield where


@contextmanager
def _server(where: Home) -> Iterator[EmbeddedServer]:
    """The embedded server, and the variables that name it, which Prefect reads when it is imported."""
    idle_seconds = idle_seconds_of(os.environ)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded_server(where.server, idle_seconds))
        except OSError as error:
            raise OutputError(
                f"{where.server}: cannot be written ({error.strerror}); set AUTOCAST_HOME to a writable folder"
            ) from error
        before = {name: os.environ.get(name) for name in server.settings}
        os.environ |= server.settings
        try:
            yield server
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def without_heartbeats() -> Iterator[None]:
    """Flow runs send no heartbeats, for whose thread each waits up to a second at its end. They are for an automation
    that looks for silent runs, of which this machine's server has none."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextmanager
def _events_sent() -> Iterator[None]:
    """At its end Prefect's events are sent: what it says of those that are left when a process ends would be written to
    the terminal, and by then the server may be gone."""
    from prefect.events.worker import EventsWorker

    try:
        yield
    finally:
        EventsWorker.drain_all()


def _wait(server: EmbeddedServer | None, tracking: bool) -> None:
    if tracking:
        from tasks.storage.model_registry import resolve_tracking_uri
        from tasks.tracking.store import connect

        connect(resolve_tracking_uri())
    if server is not None:
        server.wait()


def log_file(where: Home) -> Path:
    """A new log file for this process. OutputError where the home folder cannot be written."""
    path = where.logs / f"{datetime.now():%Y%m%d-%H%M%S}-{os.getpid()}.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot write the log ({error.strerror}); set AUTOCAST_HOME to a writable folder"
        ) from error
    return path
