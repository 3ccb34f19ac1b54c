"""Stage: the model and the data of a conversion, on this machine."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.prefect.result_reuse import OF_THIS_HOME
from tasks.prefect.retries import on_service_errors
from tasks.progress import report
from tasks.storage.data import FetchedData, fetch_data
from tasks.storage.models import Fetched, fetch_model


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
    cache_policy=OF_THIS_HOME,
    **on_service_errors(timeout_seconds=3600.0),
)(fetch_source)
fetch_data_task = task(
    name="fetch-data",
    task_run_name="fetch {uri}",
    persist_result=True,
    cache_policy=OF_THIS_HOME,
    **on_service_errors(timeout_seconds=3600.0),
)(fetch_batches)
