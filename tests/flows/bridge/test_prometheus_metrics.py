"""The bridge's metrics of runs, from a Prefect that is played."""

import asyncio
import logging
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from autocast_core.errors import ServiceError
from flows.bridge.prometheus_metrics import RunMetrics, keep_up_to_date
from tests.flows.bridge.test_prefect_runs import NOW, RUN, FakePrefect, at, run


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return RunMetrics(registry, NOW)


def update(metrics, prefect, seconds=90):
    asyncio.run(metrics.update(prefect, NOW + timedelta(seconds=seconds)))


def runs(registry, state, flow="convert-model"):
    return registry.get_sample_value("autocast_runs_total", {"flow": flow, "state": state})


def test_an_ended_run_is_counted_once_with_its_duration_its_stages_and_its_lag(metrics, registry):
    stage = {"name": "calibrate-3f2", "flow_run_id": str(RUN), "total_run_time": 1.5}
    prefect = FakePrefect([run()], task_runs__filter=[stage], events__filter={"events": [{"occurred": at(-10)}]})
    for seconds in (90, 105):
        update(metrics, prefect, seconds)
    assert runs(registry, "Completed") == 1
    assert registry.get_sample_value("autocast_run_seconds_sum", {"flow": "convert-model"}) == 60
    assert registry.get_sample_value("autocast_run_wait_seconds_sum", {"flow": "convert-model"}) == 5
    labels = {"flow": "convert-model", "stage": "calibrate"}
    assert registry.get_sample_value("autocast_stage_seconds_sum", labels) == 1.5
    assert registry.get_sample_value("autocast_request_to_candidate_seconds_sum") == 75


def test_every_state_of_every_flow_begins_at_zero(metrics, registry):
    assert runs(registry, "Crashed", "reconcile-registry") == 0


def test_what_ended_before_the_bridge_began_is_not_asked_for(metrics):
    prefect = FakePrefect()
    update(metrics, prefect, 900)
    update(metrics, prefect, 60)
    asked = [body["flow_runs"]["end_time"] for path, body in prefect.asked if "end_time" in body.get("flow_runs", {})]
    assert [each["after_"] for each in asked] == [at(300), at(0)]


def test_the_queue_shows_what_waits_now_and_nothing_that_did(metrics, registry):
    late = run(state_type="SCHEDULED", state_name="Late", end_time=None, start_time=None)
    pools = [{"name": "autocast-cpu", "status": "READY"}]
    update(metrics, FakePrefect([late], work_pools__filter=pools), 5)
    labels = {"flow": "convert-model", "state": "Late", "pool": "autocast-cpu"}
    assert registry.get_sample_value("autocast_runs_unfinished", labels) == 1
    assert registry.get_sample_value("autocast_oldest_wait_seconds", {"pool": "autocast-cpu"}) == 5
    assert registry.get_sample_value("autocast_pool_ready", {"pool": "autocast-cpu"}) == 1
    update(metrics, FakePrefect(work_pools__filter=pools), 8)
    assert registry.get_sample_value("autocast_runs_unfinished", labels) is None
    assert registry.get_sample_value("autocast_oldest_wait_seconds", {"pool": "autocast-cpu"}) == 0


def test_a_clock_that_is_behind_gives_no_negative_duration(metrics, registry):
    update(metrics, FakePrefect([run(start_time=at(70))]))
    assert registry.get_sample_value("autocast_run_seconds_sum", {"flow": "convert-model"}) == 0


def test_counted_runs_are_forgotten_once_they_are_not_asked_for_any_more(metrics):
    update(metrics, FakePrefect([run(UUID(int=number)) for number in range(3)]))
    assert len(metrics._counted) == 3
    update(metrics, FakePrefect(), 90 + 1201)
    assert metrics._counted == {}


def test_a_prefect_that_is_gone_is_logged_once_and_asked_again(metrics, registry, caplog):
    class Gone(FakePrefect):
        async def ask_prefect(self, path, body):
            self.asked.append(path)
            if len(self.asked) <= 2:
                raise ServiceError("Prefect does not answer (ConnectError)")
            return self.answers[path]

    async def for_a_moment():
        task = asyncio.create_task(keep_up_to_date(metrics, Gone(), lambda: NOW.timestamp() + 60, 0.01))
        async with asyncio.timeout(5):
            while registry.get_sample_value("autocast_runs_read_timestamp_seconds") == 0:
                await asyncio.sleep(0.01)
        task.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(for_a_moment())
    assert [record.getMessage() for record in caplog.records] == [
        "metrics of runs are out of date: Prefect does not answer (ConnectError)"
    ]
