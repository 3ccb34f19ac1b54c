"""How tasks that talk to servers are tried again: only where a later try may succeed, with growing, scattered waits."""

from __future__ import annotations

from typing import Any

from prefect.tasks import exponential_backoff

from autocast_core.errors import ServiceError, was_interrupted


def is_transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether the failed `state` holds a ServiceError; bad input and bugs fail again however often they are tried, and
    an interrupt, of which a database may make an error of its own, is to end the run."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, ServiceError) and not was_interrupted(error)


def on_service_errors(*, timeout_seconds: float) -> dict[str, Any]:
    """Options of a task that is tried three times again, after about 2, 4 and 8 s; each try has `timeout_seconds`."""
    return {
        "retries": 3,
        "retry_delay_seconds": exponential_backoff(backoff_factor=2),
        "retry_jitter_factor": 0.5,
        "retry_condition_fn": is_transient,
        "timeout_seconds": timeout_seconds,
    }
