"""Copies a converted model to where the user wants it: complete, verified, external data before the model."""

from __future__ import annotations

import glob
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autocast_core.errors import ConfigError, OutputError
from autocast_core.file_digest import file_digest
from autocast_core.model.atomic import check_destination, written_whole
from autocast_core.process.file_lock import folder_lock
from autocast_core.progress import Progress, ProgressCallback, silent
from tasks.storage.local import MODEL_FILE, digest_of, model_files
from tasks.storage.objects.s3 import DEFAULTS, S3Options
from tasks.storage.uri import LocalLocation, Location, RegistryLocation, S3Location, parse_uri

PLAN_FILE = "plan.json"
_LEFT_SECONDS = 3600
"""A live writer has written within this time."""


@dataclass(frozen=True)
class Published:
    """Where the model file now is, and under which version where the bucket keeps versions.

    `sha256` is the digest over the model and its external data, `files` the URIs of all that was published, `undo` what
    `take_back` removes: nothing where files were replaced that no version keeps.
    """

    uri: str
    sha256: str
    version_id: str | None
    files: tuple[str, ...]
    undo: tuple[str, ...] = field(default=(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"files": list(self.files), "undo": list(self.undo)}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> Published:
        """What `to_json` gave."""
        return Published(raw["uri"], raw["sha256"], raw["version_id"], tuple(raw["files"]), tuple(raw["undo"]))


def output_name(destination: str) -> str:
    """The name that the model file gets at `destination`: its own for FILE.onnx, else model.onnx.

    A model with external data must be written under this name before it is published: it refers to NAME.data.
    ConfigError where nothing can be published there.
    """
    return _target(destination)[1]


def output_location(destination: str) -> str:
    """Where the model file itself goes at `destination`, links followed: equal for the same place however written."""
    location, name, is_folder = _target(destination)
    if isinstance(location, LocalLocation):
        return str((location.path / name if is_folder else location.path).resolve())
    return str(location.under(name) if is_folder else location)


def publish_files(
    model: Path,
    destination: str,
    *,
    plan: Path | None = None,
    options: S3Options = DEFAULTS,
    progress: ProgressCallback = silent,
) -> Published:
    """Copies the model file, its external data and, to a folder or prefix, the plan to `destination`.

    A destination ending in .onnx is that file, with its data beside it; any other is a folder or prefix that receives
    model.onnx, model.onnx.data and plan.json. The model is written last, once everything else is in place; on failure
    what was copied is removed. OutputError: the destination cannot be written. ServiceError: S3 does not answer.
    """
    location, name, is_folder = _target(destination)
    files = _files(model, name)
    digest = digest_of({path: file_digest(file) for path, file in files.items()})
    extra = {PLAN_FILE: plan} if plan is not None and is_folder else {}
    # The model is the last one: whoever sees it sees the rest.
    ordered = {**{path: file for path, file in files.items() if path != name}, **extra, name: files[name]}
    if isinstance(location, LocalLocation):
        folder = location.path.absolute() if is_folder else location.path.absolute().parent
        copies = {folder / path: file for path, file in ordered.items()}
        replaced = any(path.exists() for path in copies)
        _copy_all(copies, make_folder=is_folder, progress=progress)
        paths = tuple(map(str, copies))
        return Published(str(folder / name), digest, None, paths, () if replaced else paths)
    from tasks.storage.objects.upload import upload_all

    objects = {location.under(path) if is_folder else location.beside(path): file for path, file in ordered.items()}
    uploaded = upload_all(objects, options, progress)
    final = uploaded.objects[-1]
    unversioned = S3Location(final.bucket, final.key)
    there, undo = (tuple(map(str, locations)) for locations in (uploaded.objects, uploaded.undo))
    return Published(str(unversioned), digest, final.version_id, there, undo)


def take_back(published: Published, options: S3Options = DEFAULTS) -> None:
    """Removes what publishing brought, the model first, so that the destination is as before.

    What replaced files that are kept nowhere stays: the new model, whole, is better than none. ServiceError and
    InputError as `publish_files`.
    """
    locations = [parse_uri(uri) for uri in published.undo]
    for location in reversed(locations):
        if isinstance(location, LocalLocation):
            location.path.unlink(missing_ok=True)
    objects = [location for location in locations if isinstance(location, S3Location)]
    if objects:
        from tasks.storage.objects.upload import take_back as take_objects_back

        take_objects_back(objects, options)


def is_there(uri: str) -> bool:
    """Whether what was published as `uri` (or registered, which the registry knows) has not been taken away since."""
    location = parse_uri(uri)
    if isinstance(location, LocalLocation):
        return location.path.exists()
    if isinstance(location, S3Location):
        from tasks.storage.objects.s3 import connect, find

        return find(connect(), location) is not None
    return True


def _target(destination: str) -> tuple[LocalLocation | S3Location, str, bool]:
    """The location, the model's name there, and whether the location is a folder or prefix."""
    location: Location = parse_uri(destination)
    if isinstance(location, RegistryLocation):
        raise ConfigError(
            f"output {destination}: give a path, file:// or s3:// URI; the registered name is set by --name"
        )
    if isinstance(location, S3Location) and location.version_id:
        raise ConfigError(f"output {destination}: the version is chosen by S3; omit ?versionId=")
    last = location.key.rpartition("/")[2] if isinstance(location, S3Location) else location.path.name
    is_folder = not last.endswith(".onnx") or (isinstance(location, LocalLocation) and location.path.is_dir())
    return location, MODEL_FILE if is_folder else last, is_folder


def _files(model: Path, name: str) -> dict[str, Path]:
    """The model's files by the relative name that each gets, the model itself under `name`."""
    main, *data = model_files(model.absolute())
    if data and main.name != name:
        raise OutputError(f"{model} refers to external data by name: write it as {name} before it is published")
    return {name: main, **{file.relative_to(main.parent).as_posix(): file for file in data}}


def _copy_all(copies: Mapping[Path, Path], *, make_folder: bool, progress: ProgressCallback) -> None:
    """Copies sources to targets (`copies`: source by target), the model last; all appear by renames, or none does."""
    model = tuple(copies)[-1]
    needed = sum(source.stat().st_size for source in copies.values())
    if make_folder:
        _make_folder(model.parent)
    check_destination(model, needed)
    # Two runs with one destination: the files of one after those of the other, never a mixture, nor are the parts of
    # one taken for what a killed writer left, where the clock was set meanwhile.
    with folder_lock(model.parent):
        for target in copies:
            _remove_left_parts(target)
        _copy_each(copies, needed, progress)


def _copy_each(copies: Mapping[Path, Path], needed: int, progress: ProgressCallback) -> None:
    *others, model = copies
    with written_whole(tuple(copies), needed) as outputs:
        done = 0
        for source, output in zip(copies.values(), outputs, strict=True):
            # By name, as then the kernel copies (sendfile(2)): half the CPU time of reading and writing blocks.
            shutil.copyfile(source, output.name)
            done += source.stat().st_size
            progress(Progress("publish", done, needed, "bytes"))
        if others:
            # An old model must not be seen with new data.
            model.unlink(missing_ok=True)


def _remove_left_parts(target: Path) -> None:
    """What killed writers of this file left beside it (autocast_core.model.atomic): parts that no one writes to."""
    oldest = time.time() - _LEFT_SECONDS
    for part in target.parent.glob(f".{glob.escape(target.name)}.*.part"):
        with suppress(OSError):
            if part.stat().st_mtime < oldest:
                part.unlink()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"output folder {folder} cannot be made ({error.strerror}); give another one") from error
