"""Stage: the converted model at the user's destination."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.tasks import exponential_backoff

from tasks.fetch import is_transient
from tasks.progress import report
from tasks.storage.publish import Published, publish_files


def publish_model(model: Path, destination: str, plan: Path | None = None) -> Published:
    """Publishes the model file, its external data and the plan as `publish_files` does, with progress."""
    return publish_files(model, destination, plan=plan, progress=report)


publish_task = task(
    name="publish",
    task_run_name="publish {destination}",
    persist_result=True,
    timeout_seconds=3600,
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
)(publish_model)
