"""Stage: the model and the data of a conversion, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.tasks import exponential_backoff

from autocast_core.errors import ServiceError
from tasks.progress import report
from tasks.storage.data import FetchedData, fetch_data
from tasks.storage.models import Fetched, fetch_model


def is_transient(_task: Any, _task_run: Any, state: Any) -> bool:
    """Whether the failed `state` holds a ServiceError; bad input and our own defects would fail again."""
    return isinstance(state.result(raise_on_failure=False), ServiceError)


def fetch_source(uri: str, cache_folder: Path | None = None, tracking_uri: str | None = None) -> Fetched:
    """The model at `uri`, as `fetch_model` gives it, with progress."""
    return fetch_model(uri, cache_folder, tracking_uri=tracking_uri, progress=report)


def fetch_batches(uri: str, cache_folder: Path | None = None) -> FetchedData:
    """The calibration or evaluation data at `uri`, as `fetch_data` gives them, with progress."""
    return fetch_data(uri, cache_folder, progress=report)


fetch_model_task = task(
    name="fetch-model",
    task_run_name="fetch {uri}",
    persist_result=True,
    timeout_seconds=3600,
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
)(fetch_source)
fetch_data_task = task(
    name="fetch-data",
    task_run_name="fetch {uri}",
    persist_result=True,
    timeout_seconds=3600,
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=is_transient,
)(fetch_batches)
