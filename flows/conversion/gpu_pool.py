"""Validation on a GPU pool: a deployment of its own, so that conversions run on machines without GPUs.

`flows.conversion.gpu_pool_settings` says where. The deployment gets URIs and digests, and its tracking run holds what
TensorRT said. Where no pool is configured, validation is as deep as the machine of the conversion.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import task

from autocast_core.engine.validation import Validation
from autocast_core.pipeline.saved import JobRequest, SavedModelFiles
from autocast_core.text import one_line
from flows.conversion.gpu_pool_settings import DEPLOYMENT, STAGING, GpuPool, gpu_pool
from flows.request.spec import Spec
from tasks.prefect.retries import on_service_errors
from tasks.stages.validate import VALIDATION_FILE, validate_task
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.storage.models import Fetched
from tasks.storage.publication import Published, publish_files, take_back
from tasks.storage.uri import LocalLocation, parse_uri
from tasks.tracking.artifacts import run_file
from tasks.tracking.registry.conversions import FLOW_RUN_TAG
from tasks.tracking.store import client_of, tracking_errors

NO_POOL = f"no GPU pool is configured ({DEPLOYMENT})"


def _without_pool(found: Validation, wish: str) -> Validation:
    """A validation by this machine, which also says that there is no pool where no GPU executed the model."""
    if wish == "off" or found.execution is not None:
        return found
    return replace(found, skipped=(*found.skipped, NO_POOL))


def validate_on_pool(
    pool: GpuPool, converted: SavedModelFiles, source: Fetched, spec: Spec, place: str, *, wait_for_worker: bool
) -> Validation:
    """What the pool's deployment says of the converted model beside `source`.

    Staged below `place`, a name of its own. Where the deployment is not there, no worker is online (and is not waited
    for), or its run does not complete in time, the validation is skipped with the reason.
    """
    from prefect.deployments import run_deployment

    if reason := _unusable(pool, wait_for_worker):
        return Validation(skipped=(reason,))
    with _staged(pool, {"model": converted.model.path, **_local_source(source)}, place) as uris:
        parameters: dict[str, Any] = {
            "model": uris["model"],
            "reference": uris.get("reference", source.uri_pinned),
            "spec": spec.model_copy(update={"validation": "if_available"}).model_dump(mode="json"),
            "model_sha256": converted.model.digest,
            "reference_sha256": source.ref.digest,
        }
        run: Any = run_deployment(pool.deployment, parameters=parameters, timeout=pool.wait, poll_interval=2)
    if not run.state.is_final():
        _cancel(run.id)
        return Validation(skipped=(f"{pool.deployment}: run {run.name} did not end within {pool.wait:.0f} s",))
    if not run.state.is_completed():
        message = one_line(run.state.message or "")
        return Validation(skipped=(f"{pool.deployment}: run {run.name} ended as {run.state.name}: {message}",))
    return _verdict(str(run.id))


def _unusable(pool: GpuPool, wait_for_worker: bool) -> str | None:
    """Why nothing can be asked of the pool."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import WorkPoolStatus
    from prefect.exceptions import ObjectNotFound

    if pool.staging is None:
        return f"{STAGING} is not set: GPU workers need a place from which to read the converted model"
    with get_client(sync_client=True) as client:
        try:
            deployment = client.read_deployment_by_name(pool.deployment)
        except ObjectNotFound:
            return f"the Prefect server has no deployment {pool.deployment} ({DEPLOYMENT})"
        if deployment.work_pool_name is None:
            return f"deployment {pool.deployment} has no work pool"
        status = client.read_work_pool(deployment.work_pool_name).status
    if status is WorkPoolStatus.READY or wait_for_worker:
        return None
    return f"no worker of work pool {deployment.work_pool_name} is online"


def _local_source(source: Fetched) -> dict[str, Path]:
    return {"reference": source.ref.path} if isinstance(parse_uri(source.uri_pinned), LocalLocation) else {}


@contextmanager
def _staged(pool: GpuPool, models: Mapping[str, Path], place: str) -> Iterator[dict[str, str]]:
    """The URIs of copies of `models` that are there meanwhile."""
    published: list[Published] = []
    try:
        for role, path in models.items():
            folder = f"{str(pool.staging).rstrip('/')}/{place}/{role}"
            if isinstance(location := parse_uri(folder), LocalLocation):
                location.path.mkdir(parents=True, exist_ok=True)
            published.append(publish_files(path, f"{folder}/{path.name}"))
        yield {role: each.uri for role, each in zip(models, published, strict=True)}
    finally:
        for each in published:
            take_back(each)


def _cancel(flow_run_id: Any) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelling

    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run_id, Cancelling())


def _verdict(flow_run_id: str) -> Validation:
    """What the tracking run of the finished flow run holds."""
    tracking_uri = resolve_tracking_uri()
    with tracking_errors(tracking_uri), tempfile.TemporaryDirectory(prefix="autocast-verdict-") as folder:
        client = client_of(tracking_uri)
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments, f"tags.`{FLOW_RUN_TAG}` = '{flow_run_id}'")
        if not found:
            return Validation(skipped=(f"the GPU pool's run {flow_run_id} left no tracking run in {tracking_uri}",))
        path = run_file(client, found[0].info.run_id, VALIDATION_FILE, Path(folder))
        return Validation.from_json(json.loads(path.read_text(encoding="utf-8")))


validate_on_pool_task = task(
    name="validate-on-gpu-pool", persist_result=True, **on_service_errors(timeout_seconds=6 * 3600.0)
)(validate_on_pool)


def validate_converted(
    request: JobRequest, converted: SavedModelFiles, source: Fetched, spec: Spec, place: str
) -> Validation:
    """What TensorRT makes of the converted model: on the GPU pool where one is configured, else on this machine."""
    pool = gpu_pool()
    if pool is None or spec.validation == "off":
        found = validate_task(request, converted.model, spec.validation, converted.plan)
        return _without_pool(found, spec.validation)
    return validate_on_pool_task(pool, converted, source, spec, place, wait_for_worker=spec.validation == "required")
