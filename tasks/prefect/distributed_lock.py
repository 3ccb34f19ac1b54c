"""One holder at a time across all workers of a Prefect server, without the server's memory.

Prefect's concurrency slots would do, but the open-source server keeps their leases in memory: a restart leaves the slot
taken for ever. So the lock is a Prefect variable: its unique name is decided by the server's database, its value
changes at every heartbeat, and a waiter who sees no change for as long as a lease lasts, or whose holder's run is over,
takes it away by its id, which only one can do.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from autocast_core.errors import ServiceError
from tasks.heartbeat import heartbeat

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Variable

LEASE_SECONDS = 60.0
POLL_SECONDS = 1.0
WAIT_LIMIT_SECONDS = 6 * 3600.0

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
            with heartbeat(
                lambda: _change(client, lock, _value(holder, next(beats))), lease_seconds / 4, f"lock {lock.name}"
            ):
                yield
        finally:
            with suppress(Exception):
                _remove(client, lock)


def _acquire(client: SyncPrefectClient, name: str, holder: str, lease_seconds: float) -> Variable:
    from httpx import HTTPError
    from prefect.client.schemas.actions import VariableCreate
    from prefect.exceptions import ObjectAlreadyExists

    deadline = time.monotonic() + WAIT_LIMIT_SECONDS
    seen: tuple[Any, Any] | None = None
    since = time.monotonic()
    while time.monotonic() < deadline:
        try:
            return client.create_variable(VariableCreate(name=name, value=_value(holder, 0)))
        except ObjectAlreadyExists:
            with suppress(HTTPError):
                other = client.read_variable_by_name(name)
                state = (other.id, other.value) if other else None
                if state != seen:
                    seen, since = state, time.monotonic()
                if other and (time.monotonic() - since > lease_seconds or _is_over(client, other, holder)):
                    LOG.warning("taking lock %s from %s, which is over", name, other.value)
                    _remove(client, other)
                    continue
        except HTTPError as error:
            LOG.warning("lock %s: Prefect does not answer (%s); trying again", name, type(error).__name__)
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
    raise ServiceError(f"lock {name} is not free after {WAIT_LIMIT_SECONDS / 3600:.0f} hours; look at {seen}")


def _is_over(client: SyncPrefectClient, lock: Variable, holder: str) -> bool:
    """Whether the run that holds the lock is an earlier attempt of this run, has ended, or no longer exists."""
    from prefect.exceptions import ObjectNotFound

    other = _holder(lock)
    if other == holder:
        return True
    try:
        state = client.read_flow_run(other).state  # type: ignore[arg-type]
    except ObjectNotFound:
        return True
    return state is not None and state.is_final()


def _change(client: SyncPrefectClient, lock: Variable, value: str) -> None:
    client.request("PATCH", "/variables/{id}", path_params={"id": lock.id}, json={"value": value})


def _remove(client: SyncPrefectClient, lock: Variable) -> None:
    from httpx import HTTPStatusError

    try:
        client.request("DELETE", "/variables/{id}", path_params={"id": lock.id})
    except HTTPStatusError as error:
        if error.response.status_code != 404:
            raise


def _value(holder: str, beats: int) -> str:
    return json.dumps({"holder": holder, "beats": beats})


def _holder(lock: Variable) -> str:
    value = json.loads(lock.value) if isinstance(lock.value, str) else lock.value
    return str(value["holder"]) if isinstance(value, dict) else ""
