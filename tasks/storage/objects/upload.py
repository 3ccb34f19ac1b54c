"""Uploads files as one: in order, each verified, and all taken back when one fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import AutocastError, ServiceError
from autocast_core.file_digest import file_digest
from autocast_core.progress import Progress, ProgressCallback, silent
from tasks.storage.objects.s3 import DEFAULTS, PinnedObject, S3Options, connect, find, pin
from tasks.storage.objects.s3_errors import explained
from tasks.storage.objects.s3_lock import one_writer
from tasks.storage.uri import S3Location

_MULTIPART_BYTES = 16 << 20


@dataclass(frozen=True)
class Uploaded:
    """What is there now, with versions; and what `take_back` must remove so that all is as before: nothing where that
    cannot be, as an object without versions was replaced."""

    objects: tuple[S3Location, ...]
    undo: tuple[S3Location, ...]


def upload_all(
    objects: Mapping[S3Location, Path], options: S3Options = DEFAULTS, progress: ProgressCallback = silent
) -> Uploaded:
    """Uploads every file with its sha256 as metadata, in the given order.

    An object that has the file's size and sha256 already stays. The last object is taken away before others that it may
    refer to are replaced, so that an old one is never seen with new ones; other runs wait meanwhile. On failure
    everything uploaded is removed; a bucket with versions then shows again what it showed before. InputError and
    ServiceError as `pin`.
    """
    client = connect(options)
    # A single object appears at once; of several, two runs with one destination could mix theirs.
    with one_writer(client, tuple(objects)[-1], options.lease_seconds) if len(objects) > 1 else nullcontext():
        return _upload_all(client, objects, progress)


def _upload_all(client: Any, objects: Mapping[S3Location, Path], progress: ProgressCallback) -> Uploaded:
    total = sum(file.stat().st_size for file in objects.values())
    undo: list[S3Location] = []
    done, present, replaced = 0, [], False
    try:
        for location, file in objects.items():
            digest = file_digest(file)
            there = find(client, location)
            if there is None or (there.size, there.sha256) != (file.stat().st_size, digest):
                replaced |= there is not None and there.location.version_id is None
                if location != list(objects)[-1]:
                    _hide(client, list(objects)[-1], undo)
                there = _upload(client, file, location, digest, undo)
            done += there.size
            present.append(there.location)
            progress(Progress("publish", done, total, "bytes"))
    except BaseException:
        _take_back(client, undo)
        raise
    return Uploaded(tuple(present), () if replaced else tuple(undo))


def take_back(undo: Sequence[S3Location], options: S3Options = DEFAULTS) -> None:
    """Removes these objects or versions, the latest first, as far as the server lets us."""
    _take_back(connect(options), undo)


def _upload(client: Any, file: Path, location: S3Location, digest: str, undo: list[S3Location]) -> PinnedObject:
    from boto3.s3.transfer import TransferConfig

    config = TransferConfig(
        multipart_threshold=_MULTIPART_BYTES, multipart_chunksize=_MULTIPART_BYTES, max_concurrency=4
    )
    with explained(location, client.meta.endpoint_url), open(file, "rb") as reader:
        client.upload_fileobj(
            reader, location.bucket, location.key, ExtraArgs={"Metadata": {"sha256": digest}}, Config=config
        )
    undo.append(location)
    there = pin(client, location)
    undo[-1] = there.location
    if (there.size, there.sha256) != (file.stat().st_size, digest):
        raise ServiceError(
            f"{location}: what arrived is not what was sent; another writer may use this name; try again"
        )
    return there


def _hide(client: Any, location: S3Location, undo: list[S3Location]) -> None:
    """Deletes the object if it is there; where the bucket keeps versions, taking back the marker shows it again."""
    if find(client, location) is None:
        return
    with explained(location, client.meta.endpoint_url):
        answer = client.delete_object(Bucket=location.bucket, Key=location.key)
    if answer.get("VersionId"):
        undo.append(S3Location(location.bucket, location.key, answer["VersionId"]))


def _take_back(client: Any, undo: Sequence[S3Location]) -> None:
    for location in reversed(undo):
        version = {"VersionId": location.version_id} if location.version_id else {}
        with suppress(AutocastError), explained(location, client.meta.endpoint_url):
            client.delete_object(Bucket=location.bucket, Key=location.key, **version)
