"""Stage: the converted model at the user's destination."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from prefect import task

from tasks.prefect.result_reuse import OF_THIS_HOME
from tasks.prefect.retries import on_service_errors
from tasks.progress import report
from tasks.storage.publication import Published, publish_files, take_back

LOG = logging.getLogger(__name__)


def publish_model(model: Path, destination: str, plan: Path | None = None) -> Published:
    """As `publish_files`, with the progress reported to the listener."""
    return publish_files(model, destination, plan=plan, progress=report)


publish_task = task(
    name="publish",
    task_run_name="publish {destination}",
    persist_result=True,
    cache_policy=OF_THIS_HOME,
    **on_service_errors(timeout_seconds=3600.0),
)(publish_model)


PUBLISHED = "published"
"""Under this name the transaction around the task holds what it returned."""


def take_back_published(transaction: Any) -> None:
    """A later step of the transaction failed: nobody shall find a model that the registry does not know."""
    published = transaction.get(PUBLISHED, None)
    if published is not None and published.undo:
        LOG.warning("taking back %s: what had to follow failed", published.uri)
        take_back(published)


publish_task.on_rollback(take_back_published)
