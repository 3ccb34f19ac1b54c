"""One holder at a time across all workers of a Prefect server, without the server's memory.

Prefect's concurrency slots would do, but the open-source server keeps their leases in memory: a restart leaves the slot
taken for ever. So the lock is a Prefect variable: its unique name is decided by the server's database. Its holder
counts heartbeats in a label of its flow run, and a waiter who sees no change for as long as a lease lasts, or whose
holder's run is over, takes it away by its id, which only one can do.

A change of a variable is an event in Prefect's feed, one of a label is none: a lock gives two events, however long it
is held and waited for.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID

from autocast_core.errors import ServiceError
from tasks.heartbeat import heartbeat

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun, Variable

LEASE_SECONDS = 60.0
POLL_SECONDS = 1.0
WAIT_LIMIT_SECONDS = 6 * 3600.0
BEATS_LABEL = "autocast.lock-beats"
"""Of the holder's flow run: how often it has given a sign of life."""

LOG = logging.getLogger(__name__)


@contextmanager
def exclusively(key: str, holder: str, *, lease_seconds: float = LEASE_SECONDS) -> Iterator[None]:
    """Within it no other holder is within `exclusively` of the same key (lower-case letters, digits, dashes).

    `holder` is the id of this flow run: its own lock, left by an attempt that died, it takes at once. A holder that is
    stopped for longer than the lease while the others run on can lose the lock unnoticed; what is done under it must
    bear being done twice. ServiceError when the lock is not free within hours, or Prefect does not answer as long.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        lock = _acquire(client, f"autocast-lock-{key}", holder, lease_seconds)
        beats = count(1)
        try:
            with heartbeat(lambda: _beat(client, holder, next(beats)), lease_seconds / 4, f"lock {lock.name}"):
                yield
        finally:
            with suppress(Exception):
                _remove(client, lock)


def _acquire(client: SyncPrefectClient, name: str, holder: str, lease_seconds: float) -> Variable:
    from httpx import HTTPError
    from prefect.client.schemas.actions import VariableCreate
    from prefect.exceptions import ObjectAlreadyExists

    deadline = time.monotonic() + WAIT_LIMIT_SECONDS
    seen: tuple[UUID, Any] | None = None
    since = time.monotonic()
    while time.monotonic() < deadline:
        try:
            other = client.read_variable_by_name(name)
            if other is None:
                return client.create_variable(VariableCreate(name=name, value={"holder": holder}))
            run = _run_of(client, other)
            state = other.id, run and run.labels.get(BEATS_LABEL)
            if state != seen:
                seen, since = state, time.monotonic()
            if _is_over(run, holder) or time.monotonic() - since > lease_seconds:
                LOG.warning("taking lock %s from %s, which is over", name, other.value)
                _remove(client, other)
                continue
        except ObjectAlreadyExists:
            pass
        except HTTPError as error:
            LOG.warning("lock %s: Prefect does not answer (%s); trying again", name, type(error).__name__)
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
    raise ServiceError(
        f"lock {name} is not free after {WAIT_LIMIT_SECONDS / 3600:.0f} hours; Prefect's variable of this name says"
        " which flow run holds it: cancel that run if it hangs"
    )


def _run_of(client: SyncPrefectClient, lock: Variable) -> FlowRun | None:
    """The run that holds the lock; None where it no longer exists."""
    from prefect.exceptions import ObjectNotFound

    value = lock.value if isinstance(lock.value, dict) else {}
    with suppress(ObjectNotFound, ValueError):
        return client.read_flow_run(UUID(str(value.get("holder"))))
    return None


def _is_over(run: FlowRun | None, holder: str) -> bool:
    """Whether the run that holds the lock is an earlier attempt of this run, has ended, or no longer exists."""
    if run is None or str(run.id) == holder:
        return True
    return run.state is not None and run.state.is_final()


def _beat(client: SyncPrefectClient, holder: str, beats: int) -> None:
    client.update_flow_run_labels(UUID(holder), {BEATS_LABEL: beats})


def _remove(client: SyncPrefectClient, lock: Variable) -> None:
    from httpx import HTTPStatusError

    try:
        client.request("DELETE", "/variables/{id}", path_params={"id": lock.id})
    except HTTPStatusError as error:
        if error.response.status_code != 404:
            raise
