"""The lock across workers, on one Prefect server."""

import threading
import time
import uuid
from contextvars import copy_context

import pytest

from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("prefect")


@pytest.fixture
def flow_runs(services):
    """Makes flow runs in a given state, by id."""
    from prefect import flow
    from prefect.client.orchestration import get_client

    @flow(name="holder")
    def holder():
        pass

    def make(state):
        with get_client(sync_client=True) as client:
            return str(client.create_flow_run(holder, state=state).id)

    return make


@pytest.fixture
def key():
    return uuid.uuid4().hex


def leave_lock(key, holder):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import VariableCreate

    with get_client(sync_client=True) as client:
        client.create_variable(VariableCreate(name=f"autocast-lock-{key}", value={"holder": holder}))


def left(key):
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_variable_by_name(f"autocast-lock-{key}")


def test_two_runs_are_never_within_at_once_and_leave_nothing(flow_runs, key):
    from prefect.states import Running

    from tasks.prefect.distributed_lock import exclusively

    within, most, lock = [], [], threading.Lock()

    def hold(holder):
        with exclusively(key, holder):
            with lock:
                within.append(holder)
                most.append(len(within))
            time.sleep(0.3)
            with lock:
                within.remove(holder)

    threads = [threading.Thread(target=copy_context().run, args=(hold, flow_runs(Running()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1, 1, 1]
    assert left(key) is None


def test_the_lock_of_a_run_that_is_over_is_taken_at_once(flow_runs, key):
    from prefect.states import Crashed, Running

    from tasks.prefect.distributed_lock import exclusively

    leave_lock(key, flow_runs(Crashed()))
    with exclusively(key, flow_runs(Running())):
        assert left(key) is not None
    assert left(key) is None


def test_an_earlier_attempt_of_the_same_run_does_not_lock_it_out(flow_runs, key):
    from prefect.states import Running

    from tasks.prefect.distributed_lock import exclusively

    mine = flow_runs(Running())
    leave_lock(key, mine)
    with exclusively(key, mine):
        pass


def test_a_holder_that_falls_silent_loses_the_lock_and_one_that_beats_keeps_it(flow_runs, key):
    from prefect.states import Running

    from tasks.prefect.distributed_lock import exclusively

    silent = uuid.uuid4().hex
    leave_lock(silent, flow_runs(Running()))
    with exclusively(silent, flow_runs(Running()), lease_seconds=2.0):
        pass
    ended = []

    def wait_for_it():
        with exclusively(key, flow_runs(Running()), lease_seconds=3.0):
            ended.append("waiter")

    with exclusively(key, flow_runs(Running()), lease_seconds=2.0):
        waiter = threading.Thread(target=copy_context().run, args=(wait_for_it,))
        waiter.start()
        waiter.join(6)
        ended.append("holder")
    waiter.join(60)
    assert ended == ["holder", "waiter"]


def test_a_lock_gives_two_events_however_long_it_is_held_and_waited_for(flow_runs, key):
    from prefect.client.orchestration import get_client
    from prefect.states import Running

    from tasks.prefect.distributed_lock import BEATS_LABEL, exclusively

    holder = flow_runs(Running())
    with exclusively(key, holder, lease_seconds=0.4):
        waiter = threading.Thread(target=copy_context().run, args=(_hold_briefly, key, flow_runs(Running())))
        waiter.start()
        with get_client(sync_client=True) as client:
            wait_for(lambda: client.read_flow_run(holder).labels.get(BEATS_LABEL, 0) >= 5, 60, "the fifth heartbeat")
    waiter.join(60)
    wait_for(lambda: _variable_events(key).count("prefect.variable.deleted") == 2, 60, "the end of both locks")
    assert sorted(_variable_events(key)) == ["prefect.variable.created"] * 2 + ["prefect.variable.deleted"] * 2


def _hold_briefly(key, holder):
    from tasks.prefect.distributed_lock import exclusively

    with exclusively(key, holder):
        pass


def _variable_events(key):
    """The names of all events about the variable of the lock `key`."""
    from prefect.client.orchestration import get_client

    wanted = {"event": {"prefix": ["prefect.variable."]}}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 50}).json()["events"]
    return [each["event"] for each in found if each["resource"]["prefect.resource.name"] == f"autocast-lock-{key}"]
