"""The flow `review-version`: pauses with a version's summary as its form, for teams who approve in Prefect's UI.

It asks and never loosens: what a person answers is decided as what a tag asks for, see flows/review/approval.py.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.conversion.ending_states import refused, skipped
from flows.local.environment import set_defaults
from flows.local.home import home
from flows.request.policy import limits_for
from flows.request.spec import Spec
from flows.review.approval import approve
from flows.review.conversion_record import read_conversion
from tasks.isolation import isolation
from tasks.tracking.descriptions import NOTE_TAG


class ReviewAnswer(RunInput):
    """What the form asks for."""

    approve: bool = Field(False, title="Approve", description="Check files and gates again, then set the alias.")
    alias: str = Field("champion", title="Alias", description="One that AUTOCAST_APPROVAL_ALIASES lists.")


def _run_name() -> str:
    return f"review {runtime.flow_run.parameters['model']}"


@flow(name="review-version", flow_run_name=_run_name, result_serializer="json")
def review_version(model: str, hours: float = 24.0) -> dict[str, Any] | State[Any]:
    """Shows a version's summary, waits for a person's answer, and promotes the version where that is to approve, if its
    files and gates hold; the answer is written on the version.

    Returns model, alias, approved and reason. A refusal ends as Refused; where nobody approves it ends as Skipped, both
    Completed. InputError where there is no such version, or AutoCast Flow did not register it.

    Args:
        model: The converted version: models:/NAME/VERSION.
        hours: How long to wait for the answer.
    """
    where = home()
    set_defaults(where)
    version, run = read_conversion(model)
    form = ReviewAnswer.with_initial_data(description=f"# {version}\n\n{run.tags.get(NOTE_TAG, '')}")
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=int(hours * 3600), poll_interval=5)
    except FlowPauseTimeout:
        return skipped(f"nobody answered within {hours:g} hours: start review-version again, or set the version's tag")
    if not answer.approve:
        return skipped(f"{version} was reviewed and not approved")
    with isolation(limits_for(Spec(), deployed=runtime.deployment.id is not None)):
        found = approve(str(version), answer.alias, where)
    get_run_logger().info("%s", found)
    return found.to_json() if found.approved else refused(found.reason, found.to_json())
