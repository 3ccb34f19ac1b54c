"""The states in which flow runs end beside Completed and Failed, by names of their own that people and alerts see.

- GateMissed (of type FAILED): the model is not good enough. Nothing broke, so there is no traceback, and alerts on
  Failed are silent.
- Reused (of type COMPLETED): an earlier conversion had made all that was asked for.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from autocast_core.errors import GateError

GATE_MISSED, REUSED = "GateMissed", "Reused"


def gate_missed(error: GateError) -> State[Any]:
    """The state of a flow run that ends with `error`; who called the flow gets the error itself."""
    state: State[Any] = Failed(name=GATE_MISSED, message=str(error), data=error)
    state.state_details.retriable = False
    return state


def reused(result: Any, run_id: str | None) -> State[Any]:
    """The state of a flow run whose `result` was made by the MLflow run `run_id`."""
    message = f"an equal conversion was done before: this is the result of run {run_id}"
    return Completed(name=REUSED, message=message, data=result)
