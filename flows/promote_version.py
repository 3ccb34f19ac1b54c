"""The flow `promote-version`: answers the approval that a registered version's tag asks for.

What is asked is read from the version itself: a caller of the flow chooses no alias.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State

from flows.conversion.ending_states import refused, skipped
from flows.local.environment import set_defaults
from flows.local.home import home
from flows.request.policy import limits_for
from flows.request.spec import Spec
from flows.review.approval import answer_approval
from tasks.isolation import isolation
from tasks.tracking.registry.review_tags import APPROVE


def _run_name() -> str:
    return f"promote {runtime.flow_run.parameters['model']}"


@flow(
    name="promote-version",
    flow_run_name=_run_name,
    result_serializer="json",
    timeout_seconds=1800,
    retries=2,
    retry_delay_seconds=30,
)
def promote_version(model: str) -> dict[str, Any] | State[Any]:
    """Promotes a version to the alias that its tag `autocast.approve` names, if its files and gates hold, and writes
    the answer on the version.

    Returns model, alias, approved and reason. A refusal ends as Refused, a version that asks for nothing (any more) as
    Skipped, both Completed. InputError where there is no such version.

    Args:
        model: The converted version: models:/NAME/VERSION.
    """
    where = home()
    set_defaults(where)
    with isolation(limits_for(Spec(), deployed=runtime.deployment.id is not None)):
        found = answer_approval(model, where)
    if found is None:
        return skipped(f"{model} has no tag {APPROVE}: nothing is asked, or it was answered")
    get_run_logger().info("%s", found)
    if not found.approved:
        return refused(found.reason, found.to_json())
    return found.to_json()
