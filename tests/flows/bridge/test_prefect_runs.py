"""What the bridge makes of Prefect's answers about runs."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from autocast_core.errors import ServiceError
from flows.bridge.prefect_runs import ended_runs, pools_ready, stage_of, unfinished_runs

NOW = datetime(2027, 1, 15, 8, tzinfo=UTC)
CONVERT, RUN = UUID(int=1), UUID(int=2)


def at(seconds):
    return (NOW + timedelta(seconds=seconds)).isoformat()


def run(identifier=RUN, **changed):
    """A conversion that was due at 0 s, began at 5 s and ended at 65 s."""
    return {
        "id": str(identifier),
        "flow_id": str(CONVERT),
        "parameters": {"model": "models:/resnet/3"},
        "created": at(0),
        "state_type": "COMPLETED",
        "state_name": "Completed",
        "expected_start_time": at(0),
        "next_scheduled_start_time": None,
        "start_time": at(5),
        "end_time": at(65),
        "work_pool_name": "autocast-cpu",
        **changed,
    }


class FakePrefect:
    """Answers each path with what it was given, and keeps what it was asked."""

    def __init__(self, runs=(), **answers):
        self.answers = {
            "flows/filter": [{"id": str(CONVERT), "name": "convert-model"}],
            "flow_runs/filter": list(runs),
            "task_runs/filter": [],
            "events/filter": {"events": []},
            "work_pools/filter": [],
            **{path.replace("__", "/"): answer for path, answer in answers.items()},
        }
        self.asked = []

    async def ask_prefect(self, path, body):
        self.asked.append((path, body))
        answer = self.answers[path]
        if isinstance(answer, list) and "offset" in body:
            return answer[body["offset"] : body["offset"] + body["limit"]]
        return answer


def ended(prefect, known=frozenset()):
    return asyncio.run(ended_runs(prefect, NOW, NOW + timedelta(minutes=2), known))


def unfinished(prefect, now=NOW):
    return asyncio.run(unfinished_runs(prefect, now))


def test_an_ended_run_has_its_wait_its_duration_and_its_stages():
    stages = [
        {"name": "calibrate-3f2", "flow_run_id": str(RUN), "total_run_time": 1.5},
        {"name": "fetch s3://models/resnet.onnx", "flow_run_id": str(RUN), "total_run_time": 0.5},
    ]
    (found,) = ended(FakePrefect([run()], task_runs__filter=stages))
    assert (found.flow, found.state, found.waited, found.ran) == ("convert-model", "Completed", 5.0, 60.0)
    assert found.stages == (("calibrate", 1.5), ("fetch", 0.5))


def test_the_lag_begins_with_the_event_that_asked_for_the_conversion():
    prefect = FakePrefect([run()], events__filter={"events": [{"occurred": at(-10)}]})
    (found,) = ended(prefect)
    assert found.since_request == 75.0
    (asked,) = [body["filter"] for path, body in prefect.asked if path == "events/filter"]
    assert asked["resource"] == {"id": ["mlflow.model-version.resnet.3"], "labels": {"autocast.request": "convert"}}
    assert asked["occurred"]["until"] == at(0)


@pytest.mark.parametrize(
    "changed",
    [{"parameters": {"model": "s3://models/a.onnx"}}, {"parameters": {"model": 7}}, {"state_name": "GateMissed"}],
    ids=["no version", "no location", "no candidate"],
)
def test_without_a_request_for_a_version_that_became_a_candidate_there_is_no_lag(changed):
    prefect = FakePrefect([run(**changed)], events__filter={"events": [{"occurred": at(-10)}]})
    assert ended(prefect)[0].since_request is None


def test_a_run_that_never_began_has_no_duration():
    (found,) = ended(FakePrefect([run(start_time=None, state_type="CANCELLED", state_name="Cancelled")]))
    assert (found.state, found.waited, found.ran) == ("Cancelled", None, None)


def test_a_known_run_is_not_read_again_unless_it_has_ended_again():
    first = ended(FakePrefect([run()]))
    known = frozenset(one.key for one in first)
    assert ended(FakePrefect([run()]), known) == ()
    assert len(ended(FakePrefect([run(end_time=at(90))]), known)) == 1


def test_runs_are_read_page_by_page():
    found = ended(FakePrefect([run(UUID(int=number)) for number in range(450)]))
    assert sorted(one.key[0].int for one in found) == list(range(450))


def test_unfinished_runs_wait_since_they_were_due_until_they_run():
    scheduled = run(UUID(int=3), state_type="SCHEDULED", state_name="Late", end_time=None, start_time=None)
    running = run(UUID(int=4), state_type="RUNNING", state_name="Running", end_time=None)
    found = unfinished(FakePrefect([scheduled, running]), NOW + timedelta(seconds=30))
    assert [(one.state, one.waiting_since) for one in found] == [("Late", NOW), ("Running", None)]
    assert {one.pool for one in found} == {"autocast-cpu"}


def test_a_run_that_waits_for_its_retry_is_not_due_yet():
    waits = run(state_type="SCHEDULED", state_name="AwaitingRetry", next_scheduled_start_time=at(60), end_time=None)
    assert unfinished(FakePrefect([waits]), NOW + timedelta(seconds=30)) == ()


def test_a_pool_is_ready_where_a_worker_serves_it():
    pools = [{"name": "autocast-cpu", "status": "READY"}, {"name": "autocast-gpu", "status": "NOT_READY"}]
    found = asyncio.run(pools_ready(FakePrefect(work_pools__filter=pools)))
    assert found == {"autocast-cpu": True, "autocast-gpu": False}


@pytest.mark.parametrize("answer", [{"detail": "log in"}, [{"name": "a"}], "page", None])
def test_another_answer_is_an_error_that_names_the_setting(answer):
    with pytest.raises(ServiceError, match=r"Prefect answers with something else than .*: check PREFECT_API_URL"):
        ended(FakePrefect(flows__filter=answer))


@pytest.mark.parametrize(
    ("name", "stage"),
    [("calibrate-3f2", "calibrate"), ("log-model-0ab", "log-model"), ("publish s3://a-b/c", "publish")],
)
def test_a_stage_is_named_without_what_is_different_in_each_run(name, stage):
    assert stage_of(name) == stage
