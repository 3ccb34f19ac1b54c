"""Ends runs whose process could not: it was killed, or the tracking server was unreachable.

Each run in progress has a marker, a JSON file below the home folder that its process keeps locked. A lock ends with its
process, so a marker that can be locked belongs to a dead one; the next run of this home and tracking server ends that
run in MLflow and in Prefect. Runs of other machines are ended by `reconcile-registry`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO
from uuid import UUID

from autocast_core.errors import AutocastError, OutputError
from autocast_core.process.file_lock import lock, try_lock
from flows.local.home import Home
from flows.local.own_files import open_own_file
from tasks.tracking.registry.conversions import end_abandoned
from tasks.tracking.store import shown

LOG = logging.getLogger(__name__)
_LONGEST_MARKER = 10_000
REASON = "its process ended before it could say so"


@dataclass(frozen=True)
class _Marker:
    """A flow run in progress, and the store of its tracking run: its URI without the password.

    The URI only says whether the run is of this process's store; it is never connected to.
    """

    tracking_uri: str
    flow_run: UUID


@contextmanager
def run_marker(home: Home, tracking_uri: str, flow_run: str) -> Iterator[Callable[[], None]]:
    """Marks the flow run as in progress within the block; yields a function that removes the marker.

    To be entered before the tracking run begins; call the function once that run has ended. OutputError where the home
    folder cannot be written.
    """
    path = home.running / f"{flow_run}.json"
    try:
        file = _locked_file(path, _Marker(shown(tracking_uri), UUID(flow_run)))
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot be written ({error.strerror}); set AUTOCAST_HOME to a writable folder"
        ) from error
    with file:
        yield partial(path.unlink, missing_ok=True)


def _locked_file(path: Path, marker: _Marker) -> IO[str]:
    """The marker's file, open and locked before it gets its final name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = path.with_suffix(f".{os.getpid()}")
    with ExitStack() as undo:
        undo.callback(beginning.unlink, missing_ok=True)
        file = undo.enter_context(open(beginning, "w", encoding="utf-8"))
        lock(file)
        json.dump({**asdict(marker), "flow_run": str(marker.flow_run)}, file)
        file.flush()
        os.fsync(file.fileno())
        beginning.replace(path)
        undo.pop_all()
    return file


def is_in_progress(home: Home, flow_run: str) -> bool:
    """Whether a process of this machine, which is alive, runs the flow run in this home folder, by its marker."""
    try:
        file = open_own_file(home.running / f"{flow_run}.json")
    except OSError:
        return False
    with file:
        return not try_lock(file)


def end_abandoned_runs(home: Home, tracking_uri: str) -> tuple[str, ...]:
    """Ends, as KILLED, the runs of the store at `tracking_uri` whose process is dead, and returns their ids.

    A marker of another store is left to a run that uses that one: the credentials of this process are not for every
    address that lies in a file. Where the tracking server does not answer, all are left to the next call.
    """
    ended: list[str] = []
    for path in sorted(home.running.glob("*.json")) if not home.running.is_symlink() else ():
        try:
            file = open_own_file(path)
        except OSError:
            # Removed by another process, a link, or another user's.
            continue
        with file:
            marker = _of_dead_process(file)
            if marker is None or marker.tracking_uri != shown(tracking_uri):
                continue
            try:
                ended += end_abandoned(tracking_uri, str(marker.flow_run), REASON)
            except AutocastError as error:
                LOG.warning("the tracking run of flow run %s stays RUNNING for now: %s", marker.flow_run, error)
                break
            _end_flow_run(marker.flow_run)
            path.unlink(missing_ok=True)
    return tuple(ended)


def _end_flow_run(flow_run_id: UUID) -> None:
    """Marks a dead flow run as crashed, which releases its locks (tasks.prefect.distributed_lock).

    A deployed run is left to its worker, which may be retrying it.
    """
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(flow_run_id)
            if flow_run.deployment_id is None and flow_run.state and not flow_run.state.is_final():
                client.set_flow_run_state(flow_run.id, Crashed(message=REASON), force=True)
    except (HTTPError, ObjectNotFound, ValueError) as error:
        LOG.warning("flow run %s could not be ended: %s", flow_run_id, error)


def _of_dead_process(file: IO[str]) -> _Marker | None:
    """The marker in the file; None where its process is alive."""
    if not try_lock(file):
        return None
    try:
        raw = json.loads(file.read(_LONGEST_MARKER))
        return _Marker(raw["tracking_uri"], UUID(raw["flow_run"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        LOG.warning("%s is not a valid run marker (%s); delete it", file.name, error)
        return None
