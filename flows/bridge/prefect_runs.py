"""What Prefect's API says of flow runs: which have ended, which wait, and which pools have workers.

Conversions run in processes and pods that end with them, so nobody can ask them for metrics; Prefect's server knows how
each ended, also where its machine died.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from autocast_core.errors import ServiceError

FLOWS = (
    "convert-model",
    "convert-fleet",
    "tune-precision",
    "validate-on-tensorrt",
    "promote-version",
    "review-version",
    "reconcile-registry",
)
"""The flows of infra/prefect.yaml. Named here, as importing Prefect would cost the bridge 100 MB of memory."""
STATES = ("Completed", "Reused", "Skipped", "Refused", "GateMissed", "Unpublished", "Failed", "Cancelled", "Crashed")
"""The states in which their runs end."""
_PAGE, _MOST = 200, 5000
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_UNFINISHED = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
_T = TypeVar("_T")


class Asks(Protocol):
    """Prefect's REST interface."""

    async def ask_prefect(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that a POST to `path` gives. ServiceError where Prefect does not answer as it should."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Named(_Model):
    id: UUID
    name: str


class _StageRun(_Model):
    name: str
    flow_run_id: UUID | None
    total_run_time: float


class _Run(_Model):
    id: UUID
    flow_id: UUID
    parameters: Mapping[str, Any] = {}
    created: AwareDatetime
    state_type: str | None
    state_name: str | None
    expected_start_time: AwareDatetime | None
    next_scheduled_start_time: AwareDatetime | None
    start_time: AwareDatetime | None
    end_time: AwareDatetime | None
    work_pool_name: Annotated[str, BeforeValidator(lambda name: name or "")] = ""


class _Event(_Model):
    occurred: AwareDatetime


class _Events(_Model):
    events: tuple[_Event, ...]


class _Pool(_Model):
    name: str
    status: str | None


@dataclass(frozen=True)
class EndedRun:
    """A flow run that has ended. Times in seconds.

    `waited` is from when it was due until it began, `ran` from there to its end: None of a run that never began.
    `since_request` is from the event in the registry to the end: None where none asked for the run. `stages` are the
    durations of its stages that ran, by name; a stage may have run several times.
    """

    key: tuple[UUID, datetime]
    flow: str
    state: str
    waited: float | None
    ran: float | None
    since_request: float | None
    stages: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class UnfinishedRun:
    """A flow run that is due or runs. `waiting_since` is when it was due: None once it runs."""

    flow: str
    state: str
    pool: str
    waiting_since: datetime | None


async def ended_runs(
    prefect: Asks, since: datetime, until: datetime, known: frozenset[tuple[UUID, datetime]]
) -> tuple[EndedRun, ...]:
    """The runs of AutoCast Flow's flows that ended between two times, but for those whose key is known.

    ServiceError where Prefect does not answer as it should.
    """
    flows = await _flows(prefect)
    wanted = {
        "end_time": {"after_": since.isoformat(), "before_": until.isoformat()},
        "state": {"type": {"any_": list(_ENDED)}},
    }
    found = [run for run in await _runs(prefect, wanted, "END_TIME_DESC") if _key(run) not in known]
    stages = await _stages(prefect, [run.id for run in found])
    return tuple([await _ended(prefect, run, flows.get(run.flow_id, ""), stages.get(run.id, ())) for run in found])


async def unfinished_runs(prefect: Asks, now: datetime) -> tuple[UnfinishedRun, ...]:
    """The runs of AutoCast Flow's flows that run or are due at `now`; not what is scheduled for later.

    ServiceError as `ended_runs`.
    """
    flows = await _flows(prefect)
    wanted = {
        "state": {"type": {"any_": list(_UNFINISHED)}},
        "expected_start_time": {"before_": now.isoformat()},
    }
    return tuple(
        UnfinishedRun(flows.get(run.flow_id, ""), run.state_name or "", run.work_pool_name, since)
        for run in await _runs(prefect, wanted, "EXPECTED_START_TIME_ASC")
        if (since := _waiting_since(run)) is None or since <= now
    )


async def pools_ready(prefect: Asks) -> dict[str, bool]:
    """Whether a worker serves the pool, by pool. ServiceError as `ended_runs`."""
    pools = _read(tuple[_Pool, ...], "work pools", await prefect.ask_prefect("work_pools/filter", {"limit": _PAGE}))
    return {pool.name: pool.status == "READY" for pool in pools}


def stage_of(task_run: str) -> str:
    """The stage of a task run by its name: `calibrate-3f2` (Prefect adds three letters) or `fetch s3://models/a.onnx`."""
    return task_run.partition(" ")[0] if " " in task_run else task_run.rpartition("-")[0] or task_run


def _key(run: _Run) -> tuple[UUID, datetime]:
    # A run that somebody starts again ends again.
    return run.id, run.end_time or run.created


def _waiting_since(run: _Run) -> datetime | None:
    if run.state_type not in ("SCHEDULED", "PENDING"):
        return None
    return run.next_scheduled_start_time or run.expected_start_time or run.created


async def _ended(prefect: Asks, run: _Run, flow: str, stages: Sequence[tuple[str, float]]) -> EndedRun:
    waited = ran = None
    if run.start_time is not None:
        ran = (_key(run)[1] - run.start_time).total_seconds()
        waited = (run.start_time - (run.expected_start_time or run.created)).total_seconds()
    return EndedRun(
        key=_key(run),
        flow=flow,
        state=run.state_name or "",
        waited=waited,
        ran=ran,
        since_request=await _since_request(prefect, run) if flow == "convert-model" else None,
        stages=tuple(stages),
    )


async def _since_request(prefect: Asks, run: _Run) -> float | None:
    """Seconds from the event that asked for a conversion to its end; None where it failed or no event asked for it."""
    model = run.parameters.get("model")
    if run.state_name != "Completed" or not isinstance(model, str) or not model.startswith("models:/"):
        return None
    name, _, version = model.removeprefix("models:/").rpartition("/")
    wanted = {
        "occurred": {"until": run.created.isoformat()},
        "resource": {"id": [f"mlflow.model-version.{name}.{version}"], "labels": {"autocast.request": "convert"}},
        "order": "DESC",
    }
    answer = await prefect.ask_prefect("events/filter", {"filter": wanted, "limit": 1})
    events = _read(_Events, "events", answer).events
    return (_key(run)[1] - events[0].occurred).total_seconds() if events else None


async def _flows(prefect: Asks) -> dict[UUID, str]:
    wanted = {"flows": {"name": {"any_": list(FLOWS)}}}
    flows = _read(tuple[_Named, ...], "flows", await prefect.ask_prefect("flows/filter", wanted))
    return {flow.id: flow.name for flow in flows}


async def _runs(prefect: Asks, wanted: Mapping[str, Any], sort: str) -> list[_Run]:
    """All that the server has, page by page, up to a limit that no poll of a working service reaches."""
    found: list[_Run] = []
    while len(found) < _MOST:
        body = {"flows": {"name": {"any_": list(FLOWS)}}, "flow_runs": wanted, "sort": sort}
        answer = await prefect.ask_prefect("flow_runs/filter", {**body, "limit": _PAGE, "offset": len(found)})
        page = _read(tuple[_Run, ...], "flow runs", answer)
        found += page
        if len(page) < _PAGE:
            break
    return found


async def _stages(prefect: Asks, runs: Sequence[UUID]) -> dict[UUID, list[tuple[str, float]]]:
    """The stages of these runs that ran and were completed, not taken from the cache."""
    found: dict[UUID, list[tuple[str, float]]] = {}
    for first in range(0, len(runs), 10):
        wanted = {
            "flow_run_id": {"any_": [str(run) for run in runs[first : first + 10]]},
            "state": {"name": {"any_": ["Completed"]}},
        }
        answer = await prefect.ask_prefect("task_runs/filter", {"task_runs": wanted, "limit": _PAGE})
        for stage in _read(tuple[_StageRun, ...], "task runs", answer):
            if stage.flow_run_id is not None:
                found.setdefault(stage.flow_run_id, []).append((stage_of(stage.name), stage.total_run_time))
    return found


def _read(form: type[_T], what: str, answer: Any) -> _T:
    try:
        return TypeAdapter(form).validate_python(answer)
    except ValidationError as error:
        raise ServiceError(f"Prefect answers with something else than {what}: check PREFECT_API_URL") from error
