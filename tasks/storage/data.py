"""Fetches calibration and evaluation data to files on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError, DataError
from autocast_core.file_digest import files_digest
from autocast_core.progress import ProgressCallback, silent
from tasks.storage.cache import Cache
from tasks.storage.local import DATA_SUFFIXES, data_files
from tasks.storage.objects.download import fetch_object
from tasks.storage.objects.s3 import DEFAULTS, PinnedObject, S3Options, connect, find, list_names, pin
from tasks.storage.uri import LocalLocation, S3Location, parse_uri


@dataclass(frozen=True)
class FetchedData:
    """A data file, or a folder of data files that are read in name order, and the digest over all of them."""

    path: Path
    digest: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"path": str(self.path), "digest": self.digest}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> FetchedData:
        """What `to_json` gave."""
        return FetchedData(Path(raw["path"]), raw["digest"])


def fetch_data(
    uri: str,
    cache_folder: Path | None = None,
    *,
    most_bytes: int | None = None,
    options: S3Options = DEFAULTS,
    progress: ProgressCallback = silent,
) -> FetchedData:
    """The data at `uri`: a path, file:// or s3:// location of a .npz file, a Polygraphy .json file, or a folder or
    prefix of them (those directly in it).

    Local files are used where they are; others come into `cache_folder`, each pinned by version or ETag. Content is
    not looked at. DataError: there is none, or the objects have more than `most_bytes` together and so are not fetched.
    InputError and ServiceError as `fetch_model`.
    """
    location = parse_uri(uri)
    if isinstance(location, LocalLocation):
        files = data_files(location.path.absolute())
        return FetchedData(location.path.absolute(), files_digest(files[0].parent, files))
    if isinstance(location, S3Location):
        return _fetch_s3(location, Cache.open(cache_folder), most_bytes, options, progress)
    raise ConfigError(f"data {location}: a models:/ location names a model; give a path, file:// or s3:// URI of data")


def fetch_files(
    uri: str,
    names: Sequence[str],
    cache_folder: Path | None = None,
    *,
    options: S3Options = DEFAULTS,
    progress: ProgressCallback = silent,
) -> tuple[Path, ...]:
    """Those files of the data at `uri` that are called `names`, in their order; no others are fetched. As `fetch_data`,
    which may have listed them on another machine. DataError where one is missing here."""
    location = parse_uri(uri)
    if isinstance(location, LocalLocation):
        path = location.path.absolute()
        files = tuple(path if path.name == name and path.is_file() else path / name for name in names)
        if missing := next((file for file in files if not file.is_file()), None):
            raise DataError(f"data {missing} does not exist on this machine: put the data where every worker sees it")
        return files
    if not isinstance(location, S3Location):
        raise ConfigError(f"data {location}: give a path, file:// or s3:// URI of data")
    client, cache = connect(options), Cache.open(cache_folder)
    single = None if location.is_prefix else find(client, location)
    objects = _pinned(client, location, names) if single is None else {names[0]: single}
    references = {name: fetch_object(client, pinned, cache, options, progress) for name, pinned in objects.items()}
    folder, _ = cache.place("data", references)
    return tuple(folder / name for name in names)


def _fetch_s3(
    location: S3Location, cache: Cache, most_bytes: int | None, options: S3Options, progress: ProgressCallback
) -> FetchedData:
    client = connect(options)
    single = None if location.is_prefix else find(client, location)
    objects = _objects(client, location) if single is None else {location.key.rpartition("/")[2]: single}
    if most_bytes is not None and sum(pinned.size for pinned in objects.values()) > most_bytes:
        raise DataError(f"{location}: is larger than {most_bytes} bytes, and is not fetched: give a smaller file")
    references = {name: fetch_object(client, pinned, cache, options, progress) for name, pinned in objects.items()}
    folder, digest = cache.place("data", references)
    return FetchedData(folder if single is None else folder / next(iter(objects)), digest)


def _objects(client: Any, prefix: S3Location) -> dict[str, PinnedObject]:
    names = [name for name in list_names(client, prefix) if name.endswith(DATA_SUFFIXES)]
    if not names:
        raise DataError(f"data {prefix}: there is no such object, and no .npz or .json object below it; check the key")
    return _pinned(client, prefix, names)


def _pinned(client: Any, prefix: S3Location, names: Collection[str]) -> dict[str, PinnedObject]:
    return {name: pin(client, prefix.under(name)) for name in names}
