"""Fetches the ONNX files of a registered model version through MLflow."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from autocast_core.errors import InputError, ServiceError
from autocast_core.file_digest import file_digest
from autocast_core.model.reference import ModelRef
from autocast_core.process.full_disk import full_disk_told, says_full_disk
from tasks.settings import home_folder
from tasks.storage.cache import Cache, CachedFile, reference_of
from tasks.storage.local import digest_of, model_files, model_ref
from tasks.storage.objects.s3_errors import CREDENTIALS
from tasks.storage.uri import LocalLocation, RegistryLocation, parse_uri, without_credentials

# Error codes of mlflow.protos.databricks_pb2 that a later try would meet again.
_NOT_THERE = frozenset({"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "ENDPOINT_NOT_FOUND"})
_NOT_ALLOWED = frozenset({"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})


class NoOnnxFlavorError(InputError):
    """The version is not an ONNX model."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model; `source` is the URI of its artifacts, or of an ONNX file."""

    name: str
    version: str
    source: str
    created: int
    """Milliseconds since 1970; tells a version from a deleted one of the same number."""
    tracking_uri: str

    def __str__(self) -> str:
        return f"models:/{self.name}/{self.version}"


def resolve_tracking_uri(tracking_uri: str | None = None) -> str:
    """`tracking_uri`, else MLFLOW_TRACKING_URI, else the store below the home folder, see `home_folder`."""
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home_folder(os.environ) / 'mlflow.db'}"


def find_version(location: RegistryLocation, tracking_uri: str | None = None) -> RegisteredVersion:
    """The version that `location` names now, and where its files are.

    InputError where the registry has none or rejects the credentials, ServiceError where it does not answer.
    """
    uri = resolve_tracking_uri(tracking_uri)
    database = Path(uri.removeprefix("sqlite:///").partition("?")[0])
    if uri.startswith("sqlite:///") and not database.is_file():
        # MLflow would create an empty one.
        raise InputError(f"{location}: there is no registry at {database}; set MLFLOW_TRACKING_URI")
    with _explained(str(location), uri):
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri)
        if location.version is None:
            found = client.get_model_version_by_alias(location.name, str(location.alias))
        else:
            found = client.get_model_version(location.name, location.version)
        source = client.get_model_version_download_uri(found.name, found.version)
        if source.startswith("models:/m-"):
            source = client.get_logged_model(source.removeprefix("models:/")).artifact_location
        return RegisteredVersion(found.name, str(found.version), source, found.creation_timestamp, uri)


def download_version(version: RegisteredVersion, cache: Cache) -> ModelRef:
    """The version's ONNX file, with its external data beside it: where MLflow keeps it if that is a local folder, else
    in the cache.

    InputError for a version without ONNX flavor.
    """
    local = _local_folder(version.source)
    if local is not None:
        return model_ref(onnx_file(local, str(version)))
    reference = reference_of(version.tracking_uri, str(version), version.source, str(version.created))
    with cache.locked(reference):
        known = _intact(cache.recall(reference))
        if known is not None:
            return known
        with cache.writing():
            folder = Path(tempfile.mkdtemp(dir=cache.root / "parts"))
        try:
            # Its description first: a model of another kind may be large.
            _download(version, "MLmodel", folder)
            _onnx_path(folder, str(version))
            _download(version, "", folder)
            ref = _settle(onnx_file(folder, str(version)), cache)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        with cache.writing():
            cache.remember(reference, CachedFile(ref.path, ref.digest))
        return ref


def download_folder(uri: str, folder: Path, tracking_uri: str | None = None) -> None:
    """Every file that the registry holds of the version at ``models:/NAME/VERSION``, into `folder`, which is made.

    InputError where there is no such version, ServiceError where the server does not answer.
    """
    location = parse_uri(uri)
    if not isinstance(location, RegistryLocation):
        raise InputError(f"{uri!r} is not a registered version: write models:/NAME/VERSION")
    folder.mkdir(parents=True)
    _download(find_version(location, tracking_uri), "", folder)


def onnx_file(folder: Path, what: str) -> Path:
    """The ONNX file in a folder that `download_folder` filled with the version `what`. InputError: there is none."""
    path = _onnx_path(folder, what)
    if not path.is_file():
        raise InputError(f"{what}: its artifacts hold no {path.name}; log the model again with mlflow.onnx")
    return path


def _intact(file: CachedFile | None) -> ModelRef | None:
    """The model at `file` if it still has the digest that was recorded."""
    if file is None or not file.path.is_file():
        return None
    try:
        ref = model_ref(file.path)
    except InputError:
        return None
    return ref if ref.digest == file.digest else None


def _download(version: RegisteredVersion, name: str, folder: Path) -> None:
    with _explained(str(version), version.tracking_uri):
        import mlflow

        uri = f"{version.source.rstrip('/')}/{name}" if name else version.source
        found = Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=str(folder), tracking_uri=version.tracking_uri
            )
        )
    if found.is_dir() and found != folder:
        for child in found.iterdir():
            child.replace(folder / child.name)


def _settle(model: Path, cache: Cache) -> ModelRef:
    """Moves a downloaded model's files to their place in the cache, over equal ones that may be there already."""
    names = {file: file.relative_to(model.parent).as_posix() for file in model_files(model)}
    digests = {name: file_digest(file) for file, name in names.items()}
    place = cache.folder("models", digests)
    with cache.locked(f"place-{place.name}"), cache.writing():
        for file, name in names.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            file.replace(place / name)
    return ModelRef(place / model.name, digest_of(digests))


def _local_folder(source: str) -> Path | None:
    if source.startswith(("/", "file:")):
        location = parse_uri(source)
        return location.path if isinstance(location, LocalLocation) else None
    return None


def _onnx_path(folder: Path, what: str) -> Path:
    """The ONNX file that the onnx flavor in the folder's MLmodel names."""
    try:
        description = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        flavor: Any = description["flavors"]["onnx"]
        name = PurePosixPath(flavor["data"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise NoOnnxFlavorError(f"{what} has no ONNX flavor: register a model logged with mlflow.onnx") from error
    if name.is_absolute() or ".." in name.parts:
        raise InputError(f"{what}: its MLmodel names a file outside its folder; log the model again")
    return folder / name


@contextmanager
def _explained(what: str, tracking_uri: str) -> Iterator[None]:
    """Raises InputError, ServiceError or OutputError in place of what MLflow and its HTTP client raise in the block."""
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    where = f"{what} at {without_credentials(tracking_uri)}"
    try:
        with full_disk_told():
            yield
    except MlflowException as error:
        if (full := says_full_disk(str(error))) is not None:
            raise full from error
        if error.error_code in _NOT_THERE:
            raise InputError(
                f"{where}: the registry has no such version or file; check name, version and alias"
            ) from error
        if error.error_code in _NOT_ALLOWED:
            raise InputError(
                f"{where}: access is denied; check MLFLOW_TRACKING_USERNAME, _PASSWORD or _TOKEN"
            ) from error
        raise ServiceError(f"{where}: the server fails ({error.error_code}); check MLFLOW_TRACKING_URI") from error
    except (BotoCoreError, ClientError) as error:
        raise InputError(
            f"{where}: its artifacts in S3 cannot be read ({type(error).__name__}); check AWS_ENDPOINT_URL_S3,"
            f" {CREDENTIALS}"
        ) from error
    except (RequestException, OSError) as error:
        raise ServiceError(f"{where}: the files cannot be read ({type(error).__name__}); try again") from error
