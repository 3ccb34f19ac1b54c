"""The flow `reconcile-registry`: makes up for lost webhooks and dead workers, on a schedule.

- It starts the conversion, once, of versions that opt in and were never tried, or not as their tags ask now: MLflow
  does not keep webhooks.
- It lets conversions go on that ended as Unpublished, as their servers did not answer when they were finished.
- It ends tracking runs that are RUNNING although their flow run has ended.
- It answers approvals whose event was lost, and checks aliases that somebody set by hand.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import flow, get_run_logger, runtime

from autocast_core.errors import InputError, ServiceError
from autocast_core.text import one_line
from flows.conversion.ending_states import UNPUBLISHED
from flows.conversion.tracked_run import KEEP_FAILED_SECONDS
from flows.local.environment import set_defaults
from flows.local.home import Home, home
from flows.request.policy import limits_for
from flows.request.registry_tags import OPT_IN, ConversionRequest, VersionTags, read_spec_file, request_for
from flows.request.spec import Spec
from flows.request.tag_policy import TagPolicy
from flows.review.aliases import check_aliases, enforced
from flows.review.approval import answer_approval, asked_versions
from tasks.isolation import isolation
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.registry.conversions import FLOW_RUN_TAG, REQUEST_TAG, end_abandoned
from tasks.tracking.store import all_found, connect, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

LOG = logging.getLogger(__name__)
_PAGE = 200
DEPLOYMENT = "convert-model/convert-model"


@dataclass(frozen=True)
class MissedConversion:
    """A version that opts in and was never tried as it asks now.

    `key` identifies the attempt to start it: the same for every reconciliation until a started run was killed.
    """

    request: ConversionRequest
    key: str


@flow(name="reconcile-registry", timeout_seconds=1800, retries=1, retry_delay_seconds=60)
def reconcile_registry(
    days: float = 7.0, leave_minutes: float = 10.0, deployment: str = DEPLOYMENT
) -> dict[str, list[str]]:
    """Starts `deployment` for versions of the last `days` that opt in and were never tried, and for those of any age
    whose tags were changed since they were.

    Versions of the last `leave_minutes` are left to their events. Returns ``requested`` (versions), ``resumed`` (flow
    runs whose finished conversion is published now), ``ended`` (tracking runs), ``answered`` (versions whose tag asked
    for an approval) and ``unchecked`` (versions with an alias that their checks do not allow). ConfigError where a
    setting is invalid.
    """
    where = home()
    set_defaults(where)
    policy, enforce = TagPolicy.from_environment(), enforced()
    tracking_uri = resolve_tracking_uri()
    client = connect(tracking_uri)
    resumed = _resume_unpublished(deployment)
    ended = _end_abandoned_runs(client, tracking_uri)
    now = time.time()
    with tracking_errors(tracking_uri):
        missed = list(find_missed(client, policy, now - days * 86400, now - leave_minutes * 60))
    requested = _start_missed(missed, deployment)
    with isolation(limits_for(Spec(), deployed=runtime.deployment.id is not None)):
        answered = _answer_approvals(client, where)
        unchecked = _check_aliases(client, where, enforce)
    return {"requested": requested, "resumed": resumed, "ended": ended, "answered": answered, "unchecked": unchecked}


def _answer_approvals(client: MlflowClient, where: Home) -> list[str]:
    """Answers all approvals that are asked for; returns the URIs of their versions. An answer is the same whoever
    gives it, so that one which promote-version works on at this moment does no harm."""
    answered = []
    for uri in asked_versions(client):
        try:
            found = answer_approval(uri, where)
        except InputError as error:
            get_run_logger().warning("the approval of %r is left out: %s", uri, one_line(error))
            continue
        if found is not None:
            get_run_logger().info("%s", found)
            answered.append(uri)
    return answered


def _check_aliases(client: MlflowClient, where: Home, enforce: bool) -> list[str]:
    """Checks the aliases of converted models; returns the URIs of the versions whose checks do not hold."""
    unchecked = []
    for found in check_aliases(client, where, enforce=enforce):
        what = "was taken back" if found.taken_back else "was set without its checks"
        get_run_logger().warning("alias %s of %s %s: %s", found.alias, found.model, what, found.reason)
        unchecked.append(found.model)
    return unchecked


def _end_abandoned_runs(client: MlflowClient, tracking_uri: str) -> list[str]:
    """Ends the RUNNING tracking runs of flow runs that have ended; returns their ids."""
    ended = []
    for flow_run, reason in _ended_flow_runs(client, tracking_uri):
        for run in end_abandoned(tracking_uri, flow_run, reason):
            get_run_logger().warning("run %s was left RUNNING by a flow run that has ended: ended as KILLED", run)
            ended.append(run)
    return ended


def _resume_unpublished(deployment: str) -> list[str]:
    """Lets the flow runs of the deployment's flow that ended as Unpublished go on, now that MLflow answers; returns
    their ids. Those whose files were kept for too long are said to be lost."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateName as Names
    from prefect.states import AwaitingRetry, Failed

    resumed, oldest = [], time.time() - KEEP_FAILED_SECONDS
    flow_filter = FlowFilter(name=FlowFilterName(any_=[deployment.partition("/")[0]]))
    state_filter = FlowRunFilter(state=FlowRunFilterState(name=Names(any_=[UNPUBLISHED])))
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_filter=flow_filter, flow_run_filter=state_filter, limit=_PAGE)
        for run in (each for each in found if each.deployment_id is not None):
            if run.state is None or run.state.timestamp.timestamp() < oldest:
                lost = "the finished conversion is lost: it could not be published within a week; convert again"
                client.set_flow_run_state(run.id, Failed(message=lost), force=True)
                get_run_logger().warning("flow run %s: %s", run.name, lost)
                continue
            client.set_flow_run_state(run.id, AwaitingRetry(message="MLflow answers again"))
            get_run_logger().info("flow run %s goes on: it publishes its finished conversion", run.name)
            resumed.append(str(run.id))
    return resumed


def _start_missed(missed: Iterable[MissedConversion], deployment: str) -> list[str]:
    """Starts the conversions; returns the URIs of their versions."""
    requested = []
    for each in missed:
        if _start(deployment, each):
            get_run_logger().info("%s was never converted: requested", each.request.model)
            requested.append(each.request.model)
    return requested


def find_missed(client: MlflowClient, policy: TagPolicy, since: float, until: float) -> Iterator[MissedConversion]:
    """Versions created between two times (seconds since 1970) that opt in and have neither run nor output; and those
    created before whose runs were all asked for something else than their tags ask for now."""
    for version, model_tags in _opted_in(client):
        created = version.creation_timestamp / 1000
        if created > until:
            continue
        try:
            found = _missed(client, policy, version, model_tags, is_recent=created >= since)
        except Exception as error:
            if _is_unreachable(error):
                raise
            # One version, with whatever name and tags, must not keep the others from their conversion.
            LOG.warning("version %s of %r is left out: %s", version.version, version.name, one_line(error))
            continue
        if found is not None:
            yield found


def _missed(
    client: MlflowClient, policy: TagPolicy, version: Any, model_tags: dict[str, str], *, is_recent: bool
) -> MissedConversion | None:
    tags = VersionTags(version.name, str(version.version), dict(version.tags), model_tags)
    runs = _runs_of(client, tags.uri)
    if not runs and not is_recent:
        return None
    request = request_for(tags, read_spec_file, policy)
    if not isinstance(request, ConversionRequest):
        return None
    digest = Spec(**request.spec).request_digest()
    # Runs of before this tag count as tried, whatever they were asked.
    mine = [run for run in runs if run.data.tags.get(REQUEST_TAG, digest) == digest]
    killed = sum(run.info.status == "KILLED" for run in mine)
    if len(mine) > killed or (len(mine) == len(runs) and not is_recent):
        return None
    return MissedConversion(request, f"reconcile {tags.uri} {version.creation_timestamp} {digest} {killed}")


def _is_unreachable(error: Exception) -> bool:
    """Whether the error is of a server that does not answer, as opposed to one of this version."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.get_http_status_code() >= 500  # type: ignore[no-untyped-call, no-any-return]
    return isinstance(error, ServiceError | OSError)


def _opted_in(client: MlflowClient) -> Iterator[tuple[Any, dict[str, str]]]:
    """Versions that opt in by their own tags or by their model's, each once, with their model's tags."""
    opted_in = f"tags.`{OPT_IN}` != ''"
    models = {model.name: dict(model.tags) for model in all_found(client.search_registered_models, opted_in)}
    for name, tags in models.items():
        for version in all_found(client.search_model_versions, f"name {_equal_to(name)}"):
            if version.name == name:
                # A search omits some tags; the version itself has all of them.
                yield client.get_model_version(version.name, version.version), tags
    for version in all_found(client.search_model_versions, opted_in):
        if version.name not in models:
            yield version, dict(client.get_registered_model(version.name).tags)


def _runs_of(client: MlflowClient, uri: str) -> list[Any]:
    """The tracking runs of conversions of the version at `uri`."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`autocast.source` {_equal_to(uri)}")
    tags = ((run, run.data.tags) for run in found)
    # Searches for a plan carry the name of their flow.
    return [run for run, tag in tags if tag.get("autocast.source") == uri and "autocast.flow" not in tag]


def _start(deployment: str, missed: MissedConversion) -> bool:
    """Starts the conversion; False where it is scheduled or running already, or another reconciliation started it."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterIdempotencyKey
    from prefect.deployments import run_deployment

    with get_client(sync_client=True) as client:
        if any(run.parameters.get("model") == missed.request.model for run in _unfinished(client, deployment)):
            return False
        if client.read_flow_runs(
            flow_run_filter=FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[missed.key]))
        ):
            return False
    parameters = {"model": missed.request.model, "spec": dict(missed.request.spec)}
    # Two concurrent reconciliations start one run: the server knows the key.
    run_deployment(deployment, parameters=parameters, timeout=0, idempotency_key=missed.key, as_subflow=False)
    return True


def _unfinished(client: SyncPrefectClient, deployment: str) -> Iterator[FlowRun]:
    """The scheduled and running runs of the deployment's flow; the server returns them in pages."""
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


def _ended_flow_runs(client: MlflowClient, tracking_uri: str) -> Iterator[tuple[str, str]]:
    """The ids of flow runs that have ended while their tracking run is RUNNING, each with the reason to record."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with tracking_errors(tracking_uri):
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    owners = sorted({run.data.tags[FLOW_RUN_TAG] for run in runs if _is_uuid(run.data.tags.get(FLOW_RUN_TAG))})
    with get_client(sync_client=True) as prefect:
        for owner in owners:
            try:
                state = prefect.read_flow_run(owner).state  # type: ignore[arg-type]
            except ObjectNotFound:
                yield owner, "its flow run no longer exists"
                continue
            if state is not None and state.is_final():
                yield owner, f"its flow run ended as {state.name}" + (f": {state.message}" if state.message else "")


def _is_uuid(tag: str | None) -> bool:
    """Whether it is an id of a flow run, as opposed to whatever else a tag may hold."""
    try:
        return tag is not None and str(UUID(tag)) == tag
    except ValueError:
        return False


def _equal_to(text: str) -> str:
    """A comparison of MLflow's search language that the text meets, and hardly any other: literals have no escapes, so
    that one with both quotes is searched for by a pattern, in which ``_`` is any letter."""
    if "'" not in text:
        return f"= '{text}'"
    if '"' not in text:
        return f'= "{text}"'
    return "LIKE '" + text.replace("'", "_") + "'"
