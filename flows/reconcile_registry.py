"""The flow `reconcile-registry`: what events should have done and did not.

Webhooks can be lost (MLflow keeps none) and workers can die. On a schedule this finds versions that opt in and were
never tried, and starts their conversion, once; and it ends tracking runs whose flow run is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger

from flows.local.environment import set_defaults
from flows.local.home import home
from flows.request.registry_tags import OPT_IN, ConversionRequest, VersionTags, read_spec_file, request_for
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.conversions import FLOW_RUN_TAG, end_abandoned
from tasks.tracking.store import connect, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from prefect.client.orchestration import SyncPrefectClient

_PAGE = 200
DEPLOYMENT = "convert-model/convert-model"


@dataclass(frozen=True)
class Lost:
    """A version that asks for a conversion and was never tried; `key` is the same as long as that is so."""

    request: ConversionRequest
    key: str


@flow(name="reconcile-registry", timeout_seconds=1800, retries=1, retry_delay_seconds=60)
def reconcile_registry(
    days: float = 7.0, leave_minutes: float = 10.0, deployment: str = DEPLOYMENT
) -> dict[str, list[str]]:
    """Starts `deployment` for versions of the last `days` that were never tried; the last `leave_minutes` are left to
    their events. Returns ``requested`` (versions) and ``ended`` (tracking runs)."""
    set_defaults(home())
    log = get_run_logger()
    tracking_uri = resolve_tracking_uri()
    client = connect(tracking_uri)
    ended = [run for flow_run in _over(client, tracking_uri) for run in end_abandoned(tracking_uri, *flow_run)]
    for run in ended:
        log.warning("run %s was left RUNNING by a flow run that is over: ended as KILLED", run)
    requested = []
    now = time.time()
    with tracking_errors(tracking_uri):
        lost = list(find_lost(client, since=now - days * 86400, until=now - leave_minutes * 60))
    for each in lost:
        if _start(deployment, each):
            log.info("%s was never converted: requested", each.request.model)
            requested.append(each.request.model)
    return {"requested": requested, "ended": ended}


def find_lost(client: MlflowClient, since: float, until: float) -> Iterator[Lost]:
    """Versions created between two times (seconds since 1970) that opt in and have neither run nor output."""
    for version, model_tags in _opted_in(client):
        if not since <= version.creation_timestamp / 1000 <= until:
            continue
        tags = VersionTags(version.name, str(version.version), dict(version.tags), model_tags)
        request = request_for(tags, read_spec_file)
        if not isinstance(request, ConversionRequest):
            continue
        tried, killed = _tries(client, tags.uri)
        if not tried:
            yield Lost(request, f"reconcile {tags.uri} {version.creation_timestamp} {killed}")


def _opted_in(client: MlflowClient) -> Iterator[tuple[Any, dict[str, str]]]:
    """Versions that opt in by their own tags or by their model's, each once, with their model's tags."""
    asked = f"tags.`{OPT_IN}` != ''"
    models = {model.name: dict(model.tags) for model in _all(client.search_registered_models, asked)}
    for name, tags in models.items():
        for version in _all(client.search_model_versions, f"name = {_quoted(name)}"):
            # A search leaves some tags out; the version itself has all.
            yield client.get_model_version(version.name, version.version), tags
    for version in _all(client.search_model_versions, asked):
        if version.name not in models:
            yield version, dict(client.get_registered_model(version.name).tags)


def _tries(client: MlflowClient, uri: str) -> tuple[bool, int]:
    """Whether a run for the version at `uri` exists that was not killed, and how many were."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`autocast.source` = {_quoted(uri)}")
    killed = sum(run.info.status == "KILLED" for run in runs)
    return len(runs) > killed, killed


def _start(deployment: str, lost: Lost) -> bool:
    """Whether this started the conversion: not when it waits or runs already, or another reconciliation started it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
    from prefect.deployments import run_deployment

    with get_client(sync_client=True) as client:
        if any(run.parameters.get("model") == lost.request.model for run in _waiting(client, deployment)):
            return False
        if client.read_flow_runs(
            flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[lost.key]))
        ):
            return False
    parameters = {"model": lost.request.model, "spec": dict(lost.request.spec)}
    # Two reconciliations at once start one run: the server knows the key.
    run_deployment(deployment, parameters=parameters, timeout=0, idempotency_key=lost.key, as_subflow=False)
    return True


def _waiting(client: SyncPrefectClient, deployment: str) -> Iterator[Any]:
    """The runs of the deployment's flow that wait or run; the server gives them by pages."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateType as States
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    pending = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.PAUSED]
    flow_filter = FlowFilter(name=FlowFilterName(any_=[deployment.partition("/")[0]]))
    state_filter = FlowRunFilter(state=FlowRunFilterState(type=States(any_=pending)))
    seen = 0
    while page := client.read_flow_runs(
        flow_filter=flow_filter, flow_run_filter=state_filter, sort=FlowRunSort.ID_DESC, limit=_PAGE, offset=seen
    ):
        yield from page
        seen += len(page)


def _over(client: MlflowClient, tracking_uri: str) -> Iterator[tuple[str, str]]:
    """The ids of flow runs that are over while their tracking run is RUNNING, with what became of them."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with tracking_errors(tracking_uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    owners = sorted({run.data.tags[FLOW_RUN_TAG] for run in runs if FLOW_RUN_TAG in run.data.tags})
    with get_client(sync_client=True) as prefect:
        for owner in owners:
            try:
                state = prefect.read_flow_run(owner).state  # type: ignore[arg-type]
            except ObjectNotFound:
                yield owner, "its flow run does not exist any more"
                continue
            if state is not None and state.is_final():
                yield owner, f"its flow run ended as {state.name}"


def _all(search: Callable[..., Any], query: str) -> Iterator[Any]:
    token = None
    while True:
        page = search(query, max_results=200, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _quoted(text: str) -> str:
    """As a value in MLflow's search language, which has no escapes."""
    return f'"{text}"' if "'" in text else f"'{text}'"
