"""Stage: the converted model at the user's destination."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.progress import report
from tasks.retries import on_service_errors
from tasks.storage.publish import Published, publish_files


def publish_model(model: Path, destination: str, plan: Path | None = None) -> Published:
    """Publishes the model file, its external data and the plan as `publish_files` does, with progress."""
    return publish_files(model, destination, plan=plan, progress=report)


publish_task = task(
    name="publish",
    task_run_name="publish {destination}",
    persist_result=True,
    **on_service_errors(timeout_seconds=3600.0),
)(publish_model)
