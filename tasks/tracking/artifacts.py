"""A run's artifacts as files: their digests, one of them, more of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autocast_core.errors import InputError
from autocast_core.file_digest import file_digest
from autocast_core.process.full_disk import says_full_disk
from tasks.tracking.store import existing_store, tracking_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient


def artifact_digests(tracking_uri: str, run_id: str, *, but: str) -> dict[str, str]:
    """sha256 in hex of every artifact of the run by its path, without the folder `but`; each is downloaded."""
    client = existing_store(tracking_uri)
    digests = {}
    with tracking_errors(tracking_uri):
        for path in _paths(client, run_id, None):
            if path.partition("/")[0] == but:
                continue
            with tempfile.TemporaryDirectory(prefix="autocast-artifact-") as folder:
                digests[path] = file_digest(run_file(client, run_id, path, Path(folder)))
    return digests


def folder_files(folder: Path) -> tuple[str, ...]:
    """The relative paths of the files below the folder, in order."""
    return tuple(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


def folder_digests(folder: Path) -> dict[str, str]:
    """sha256 in hex of every file below the folder by its relative path."""
    return {name: file_digest(folder / name) for name in folder_files(folder)}


def download_artifact(tracking_uri: str, run_id: str, path: str, folder: Path) -> Path:
    """The run's artifact at `path`, in the folder. InputError where there is none."""
    client = existing_store(tracking_uri)
    with tracking_errors(tracking_uri):
        if path not in _paths(client, run_id, path.rpartition("/")[0] or None):
            raise InputError(f"run {run_id} has no {path}: give the run of a conversion")
        return run_file(client, run_id, path, folder)


def run_file(client: MlflowClient, run_id: str, path: str, folder: Path) -> Path:
    """The run's artifact at `path`, copied into the folder from where the run keeps its artifacts.

    MlflowClient.download_artifacts looks in the run's models too, and of whatever fails says that the path is wrong.
    OutputError where the disk is full; otherwise MLflow's exceptions.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException
    from mlflow.utils.uri import append_to_uri_path

    place = append_to_uri_path(client.get_run(run_id).info.artifact_uri, path)  # type: ignore[no-untyped-call]
    try:
        return Path(download_artifacts(artifact_uri=place, dst_path=str(folder), tracking_uri=client.tracking_uri))
    except MlflowException as error:
        if (full := says_full_disk(str(error))) is not None:
            raise full from error
        raise


def upload_artifacts(tracking_uri: str, run_id: str, folder: Path, name: str) -> None:
    """Puts the files of the folder into the run's artifact folder `name`, in place of those of the same names."""
    with tracking_errors(tracking_uri):
        existing_store(tracking_uri).log_artifacts(run_id, str(folder), name)


def _paths(client: MlflowClient, run_id: str, below: str | None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, below):
        if entry.is_dir:
            yield from _paths(client, run_id, entry.path)
        else:
            yield entry.path
