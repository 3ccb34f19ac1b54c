"""What runs and registered versions say of themselves, read back; what is not there is named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import InputError
from autocast_core.process.full_disk import full_disk_told
from tasks.storage.uri import RegistryLocation, parse_uri
from tasks.tracking.artifacts import run_file
from tasks.tracking.registry.model_versions import set_alias as set_alias_again
from tasks.tracking.runs import DIGEST_TAG, FAILURE_TAG, PLACE_TAG
from tasks.tracking.store import existing_store, tracking_errors

_ABSENT = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"})


@dataclass(frozen=True)
class RunRecord:
    """A run's record. `inputs` are the digests of what it read, by the names calibration, evaluation, source-model;
    `places` where that was."""

    run_id: str
    name: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    inputs: Mapping[str, str]
    places: Mapping[str, str]


@dataclass(frozen=True)
class VersionRecord:
    """A registered version and what is written on it."""

    name: str
    version: str
    run_id: str | None
    aliases: tuple[str, ...]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


def read_run(tracking_uri: str, run_id: str) -> RunRecord:
    """The run's record.

    InputError where there is no such run or it is deleted, ServiceError where the server does not answer.
    """
    client = existing_store(tracking_uri)
    advice = "give the id of a run of `autocast run`, as MLflow's UI shows it"
    with tracking_errors(tracking_uri), _absent(f"there is no run {run_id!r} at {tracking_uri}: {advice}"):
        found = client.get_run(run_id)
    if found.info.lifecycle_stage == "deleted":
        raise InputError(f"run {run_id} is deleted: restore it with `mlflow runs restore`, or give another")
    digests, places = {}, {}
    for entry in found.inputs.dataset_inputs if found.inputs else ():
        tags = {tag.key: tag.value for tag in entry.tags}
        digests[entry.dataset.name] = tags.get(DIGEST_TAG, entry.dataset.digest)
        places[entry.dataset.name] = tags.get(PLACE_TAG, "")
    data = found.data
    return RunRecord(
        run_id, found.info.run_name, found.info.status, data.metrics, data.params, data.tags, digests, places
    )


def read_artifact(tracking_uri: str, run: RunRecord, path: str) -> str:
    """The text of the run's artifact at `path`. InputError where it has none: which run, which artifact, and why."""
    client = existing_store(tracking_uri)
    reason = run.tags.get(FAILURE_TAG, "it was deleted, or the run is not a conversion")
    with (
        tracking_errors(tracking_uri),
        tempfile.TemporaryDirectory(prefix="autocast-artifact-") as folder,
        _absent(f"run {run.run_id} ({run.status.lower()}) has no {path}: {reason}"),
    ):
        if path not in {artifact.path for artifact in client.list_artifacts(run.run_id)}:
            raise FileNotFoundError(path)
        return run_file(client, run.run_id, path, Path(folder)).read_text(encoding="utf-8")


def read_version(tracking_uri: str, uri: str) -> VersionRecord:
    """The registered version at ``models:/NAME/VERSION`` or ``models:/NAME@ALIAS``. InputError where there is none."""
    location = parse_uri(uri)
    if not isinstance(location, RegistryLocation):
        raise InputError(f"{uri!r} is not a registered version: write models:/NAME/VERSION or models:/NAME@ALIAS")
    client = existing_store(tracking_uri)
    with tracking_errors(tracking_uri), _absent(f"there is no {uri} at {tracking_uri}: check name, version and alias"):
        found: Any = (
            client.get_model_version(location.name, location.version)
            if location.version is not None
            else client.get_model_version_by_alias(location.name, str(location.alias))
        )
        # A version that was found by its alias names no aliases in every store.
        found = client.get_model_version(found.name, found.version)
    return VersionRecord(found.name, str(found.version), found.run_id, tuple(found.aliases), dict(found.tags))


def set_alias(tracking_uri: str, version: VersionRecord, alias: str) -> None:
    """Points `alias` of the registered model at the version."""
    with tracking_errors(tracking_uri):
        set_alias_again(existing_store(tracking_uri), version.name, alias, version.version)


@contextmanager
def _absent(message: str) -> Iterator[None]:
    """InputError with `message` where a file is missing or MLflow says that what was asked for is not there."""
    from mlflow.exceptions import MlflowException

    try:
        with full_disk_told():
            yield
    except OSError as error:
        raise InputError(message) from error
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise InputError(message) from error
