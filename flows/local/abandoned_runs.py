"""Runs that their process could not end: killed, or its server gone. The next run of this home ends them, in MLflow and
in Prefect.

Each run in progress is a file below the home folder that its process holds locked; a lock ends with its process, so a
file that can be locked is that of a dead one. Runs of other machines are ended by `reconcile-registry`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO
from uuid import UUID

from autocast_core.errors import AutocastError, OutputError
from flows.local.home import Home
from tasks.tracking.conversions import end_abandoned
from tasks.tracking.store import shown, usable

LOG = logging.getLogger(__name__)
REASON = "its process ended before it could say so"


@dataclass(frozen=True)
class _Note:
    """A flow run in progress, and the store in which its tracking run is or will be: its URI without the password."""

    tracking_uri: str
    flow_run: str


@contextmanager
def noted(home: Home, tracking_uri: str, flow_run: str) -> Iterator[Callable[[], None]]:
    """Within it the flow run is known to be in progress, so it is entered before the tracking run begins; call what it
    yields when that has been ended. OutputError where the home folder cannot be written."""
    path = home.root / "running" / f"{flow_run}.json"
    try:
        file = _locked_note(path, _Note(shown(tracking_uri), flow_run))
    except OSError as error:
        raise OutputError(
            f"{path.parent}: cannot be written ({error.strerror}); set AUTOCAST_HOME to a folder that can be written"
        ) from error
    with file:
        yield partial(path.unlink, missing_ok=True)


def _locked_note(path: Path, note: _Note) -> IO[str]:
    """The file, open: under its final name it is locked from the beginning."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beginning = path.with_suffix(f".{os.getpid()}")
    with ExitStack() as undo:
        undo.callback(beginning.unlink, missing_ok=True)
        file = undo.enter_context(open(beginning, "w", encoding="utf-8"))
        fcntl.flock(file, fcntl.LOCK_EX)
        json.dump(asdict(note), file)
        file.flush()
        os.fsync(file.fileno())
        beginning.replace(path)
        undo.pop_all()
    return file


def end_left(home: Home) -> tuple[str, ...]:
    """Ends, as KILLED, the tracking runs whose process is over, and returns their ids; those whose server does not
    answer stay for the next time."""
    ended: list[str] = []
    silent: set[str] = set()
    for path in sorted((home.root / "running").glob("*.json")):
        with suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
            note = _dead(file)
            # A server that does not answer is not asked again for every note.
            if note is None or note.tracking_uri in silent:
                continue
            try:
                ended += end_abandoned(usable(note.tracking_uri), note.flow_run, REASON)
            except AutocastError as error:
                LOG.warning("the tracking run of flow run %s stays RUNNING for now: %s", note.flow_run, error)
                silent.add(note.tracking_uri)
                continue
            _end_flow_run(note.flow_run)
            path.unlink(missing_ok=True)
    return tuple(ended)


def _end_flow_run(flow_run_id: str) -> None:
    """Release the locks that a dead flow run holds (tasks.prefect.distributed_lock).

    A deployed run is left to its worker, which may be trying it again.
    """
    from httpx import HTTPError
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

    try:
        with get_client(sync_client=True) as client:
            flow_run = client.read_flow_run(UUID(flow_run_id))
            if flow_run.deployment_id is None and flow_run.state and not flow_run.state.is_final():
                client.set_flow_run_state(flow_run.id, Crashed(message=REASON), force=True)
    except (HTTPError, ObjectNotFound, ValueError) as error:
        LOG.warning("flow run %s is not ended: %s", flow_run_id, error)


def _dead(file: IO[str]) -> _Note | None:
    """The note in the file, or None where its process lives."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _Note(**json.load(file))
    except BlockingIOError:
        return None
    except (ValueError, TypeError) as error:
        LOG.warning("%s is no note of a run (%s): remove it", file.name, error)
        return None
