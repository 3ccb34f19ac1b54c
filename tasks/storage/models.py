"""Fetches a model, whole and pinned, from wherever it lies to files that a converter can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import ModelError
from autocast_core.model.reference import ModelRef
from autocast_core.progress import ProgressCallback, silent
from tasks.storage.cache import Cache
from tasks.storage.external_data import external_names
from tasks.storage.local import MODEL_FILE, find_model, model_ref
from tasks.storage.objects.download import fetch_object
from tasks.storage.objects.s3 import DEFAULTS, PinnedObject, S3Options, connect, find, pin
from tasks.storage.uri import LocalLocation, RegistryLocation, S3Location, parse_uri


@dataclass(frozen=True)
class Fetched:
    """A model on this machine.

    `uri_pinned` names the very state that was fetched, as far as the place it came from has names for states;
    `registered_name` is the registered model it is a version of; `stem` is the model file's name without its suffix.
    """

    ref: ModelRef
    uri_pinned: str
    registered_name: str | None
    stem: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "ref": self.ref.to_json(),
            "uri_pinned": self.uri_pinned,
            "registered_name": self.registered_name,
            "stem": self.stem,
        }

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Fetched:
        """What `to_json` gave."""
        return Fetched(ModelRef.from_json(raw["ref"]), raw["uri_pinned"], raw["registered_name"], raw["stem"])


def fetch_model(
    uri: str,
    cache_folder: Path | None = None,
    *,
    tracking_uri: str | None = None,
    options: S3Options = DEFAULTS,
    progress: ProgressCallback = silent,
) -> Fetched:
    """The model at `uri`: a path, file://, s3:// or models:/ location of an ONNX file, or of a folder or prefix that
    holds model.onnx.

    Local files are used where they are. Others come into `cache_folder` (default: `default_cache_folder`), pinned by
    version or ETag, with every external data file that the model names, all from the model's own folder or prefix.
    `tracking_uri`: the MLflow server of models:/ locations, by default as `registry.resolve_tracking_uri` says.
    InputError: there is no such model, it may not be read, or it is not ONNX. ServiceError: a server does not answer.
    """
    location = parse_uri(uri)
    if isinstance(location, LocalLocation):
        ref = model_ref(find_model(location.path))
        return Fetched(ref, str(ref.path), None, ref.path.stem)
    cache = Cache.open(cache_folder)
    if isinstance(location, S3Location):
        return _fetch_s3(location, cache, options, progress)
    return _fetch_registered(location, cache, tracking_uri, options, progress)


def _fetch_s3(location: S3Location, cache: Cache, options: S3Options, progress: ProgressCallback) -> Fetched:
    client = connect(options)
    main = _main_object(client, location)
    name = main.location.key.rpartition("/")[2]
    references = {name: fetch_object(client, main, cache, options, progress)}
    with cache.locked(references[name]):  # another run may be moving the file to its place
        names = external_names(cache.expect(references[name]).path, main.location)
    beside = {data: _pin_data(client, main.location, data) for data in names if data != name}
    for data, pinned in beside.items():
        references[data] = fetch_object(client, pinned, cache, options, progress)
    folder, digest = cache.place("models", references)
    return Fetched(ModelRef(folder / name, digest), str(main.location), None, Path(name).stem)


def _main_object(client: Any, location: S3Location) -> PinnedObject:
    """The ONNX file itself: the object, or model.onnx below the prefix that `location` may be."""
    if location.is_prefix:
        return pin(client, location.under(MODEL_FILE))
    if location.key.endswith(".onnx") or location.version_id:
        return pin(client, location)
    return find(client, location) or pin(client, location.under(MODEL_FILE))


def _pin_data(client: Any, model: S3Location, name: str) -> PinnedObject:
    pinned = find(client, model.beside(name))
    if pinned is None:
        raise ModelError(f"{model}: its external data {model.beside(name)} is missing: upload it beside the model")
    return pinned


def _fetch_registered(
    location: RegistryLocation, cache: Cache, tracking_uri: str | None, options: S3Options, progress: ProgressCallback
) -> Fetched:
    from tasks.storage.model_registry import download_version, find_version

    version = find_version(location, tracking_uri)
    if version.source.endswith(".onnx"):
        fetched = fetch_model(version.source, cache.root, options=options, progress=progress)
        return Fetched(fetched.ref, str(version), version.name, fetched.stem)
    ref = download_version(version, cache)
    return Fetched(ref, str(version), version.name, ref.path.stem)
