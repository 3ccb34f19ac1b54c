"""The states in which flow runs end beside Completed and Failed, by names of their own that people and alerts see.

- GateMissed (of type FAILED): the model is not good enough. Nothing broke, so there is no traceback, and alerts on
  Failed are silent.
- Unpublished (of type FAILED): the conversion is finished, and its servers did not answer; reconcile-registry lets the
  run go on.
- Reused (of type COMPLETED): an earlier conversion had made all that was asked for.
- Skipped (of type COMPLETED): there was nothing to do.
- Refused (of type COMPLETED): an approval that was asked for was not given; the version says why.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from autocast_core.errors import GateError, ServiceError

GATE_MISSED, UNPUBLISHED, REUSED, SKIPPED, REFUSED = "GateMissed", "Unpublished", "Reused", "Skipped", "Refused"
ENDING_STATES = (GATE_MISSED, UNPUBLISHED, REUSED, SKIPPED, REFUSED)
"""All of them, as infra/automations.yaml expects them."""


def gate_missed(error: GateError) -> State[Any]:
    """The state of a flow run that ends with `error`; who called the flow gets the error itself."""
    state: State[Any] = Failed(name=GATE_MISSED, message=str(error), data=error)
    state.state_details.retriable = False
    return state


def waiting(error: ServiceError) -> State[Any]:
    """The state of a flow run whose conversion is finished and, as `error` says, waits to be published."""
    state: State[Any] = Failed(name=UNPUBLISHED, message=str(error), data=error)
    return state


def reused(result: Any, run_id: str | None) -> State[Any]:
    """The state of a flow run whose `result` was made by the MLflow run `run_id`."""
    message = f"an equal conversion was done before: this is the result of run {run_id}"
    return Completed(name=REUSED, message=message, data=result)


def skipped(reason: str) -> State[Any]:
    """The state of a flow run for which there was nothing to do."""
    return Completed(name=SKIPPED, message=reason)


def refused(reason: str, result: Any) -> State[Any]:
    """The state of a flow run whose `result` is that an approval was not given."""
    return Completed(name=REFUSED, message=reason, data=result)
