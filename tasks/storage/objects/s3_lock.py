"""One writer at a time for a destination in S3: an object beside the model that only one of several runs can create.

It is made by a conditional request (``If-None-Match: *``, of AWS, Ceph and MinIO), changes at every heartbeat, and is
deleted at the end. A waiter who sees no change for as long as a lease lasts takes it over (``If-Match``), which again
only one can do; no clock is compared with another. Where a server knows no conditional requests, or the object may not
be written, the destination is not locked, and the log says so.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from autocast_core.errors import ServiceError
from tasks.heartbeat import heartbeat
from tasks.storage.objects.s3_errors import error_code, explained
from tasks.storage.uri import S3Location

LOG = logging.getLogger(__name__)
WAIT_LIMIT_SECONDS = 1800.0
_HELD = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_NO_LOCKS = frozenset({"NotImplemented", "501", "AccessDenied", "403"})


def marker_of(location: S3Location) -> S3Location:
    """The object that locks the destination of the model at `location`."""
    return location.beside(f".{location.key.rpartition('/')[2]}.lock")


@contextmanager
def one_writer(client: Any, location: S3Location, lease_seconds: float) -> Iterator[None]:
    """Within it no other run is within `one_writer` of the model at `location`.

    A holder that is stopped for longer than the lease loses the lock. ServiceError when the destination is not free for
    half an hour, or the server does not answer.
    """
    held = _acquired(client, marker_of(location), lease_seconds)
    if held is None:
        yield
        return
    try:
        with heartbeat(held.beat, lease_seconds / 4, f"lock {held.marker}"):
            yield
    finally:
        held.remove()


@dataclass
class _Held:
    """The lock as this run holds it: the marker's last ETag, and its versions where the bucket keeps them."""

    client: Any
    marker: S3Location
    etag: str = ""
    versions: list[str] = field(default_factory=list)

    def replace(self, etag: str) -> None:
        """Writes the marker where its state is `etag`. botocore's ClientError otherwise.

        Older versions of Ceph compare with what they keep, which has no quotation marks; none takes both forms wrongly.
        """
        from botocore.exceptions import ClientError

        try:
            self.put({"IfMatch": etag})
        except ClientError as error:
            if error_code(error) not in _HELD:
                raise
            self.put({"IfMatch": etag.strip('"')})

    def put(self, condition: dict[str, str]) -> None:
        """Writes the marker where the condition holds. botocore's ClientError otherwise."""
        answer = self.client.put_object(
            Bucket=self.marker.bucket, Key=self.marker.key, Body=uuid.uuid4().hex.encode(), **condition
        )
        self.etag = answer["ETag"]
        if answer.get("VersionId"):
            self.versions.append(answer["VersionId"])

    def beat(self) -> None:
        """Changes the marker, which waiters see."""
        self.replace(self.etag)

    def remove(self) -> None:
        """Deletes the marker if it still is this run's."""
        where = {"Bucket": self.marker.bucket, "Key": self.marker.key}
        with suppress(Exception):
            if self.client.head_object(**where)["ETag"] != self.etag:
                return
            for version in self.versions:
                self.client.delete_object(VersionId=version, **where)
            if not self.versions:
                self.client.delete_object(**where)


def _acquired(client: Any, marker: S3Location, lease_seconds: float) -> _Held | None:
    """The lock, once it is free; None where there can be none."""
    from botocore.exceptions import ClientError

    held = _Held(client, marker)
    seen, since = "", time.monotonic()
    deadline = time.monotonic() + WAIT_LIMIT_SECONDS
    while time.monotonic() < deadline:
        silent = bool(seen) and time.monotonic() - since > lease_seconds
        with explained(marker, client.meta.endpoint_url):
            try:
                if silent:
                    held.replace(seen)
                else:
                    held.put({"IfNoneMatch": "*"})
                return held
            except ClientError as error:
                code = error_code(error)
                if code in _NO_LOCKS:
                    LOG.warning("%s cannot be written (%s): the destination is not locked", marker, code)
                    return None
                if code not in (*_HELD, "NoSuchKey", "404"):
                    raise
        found = _etag(client, marker)
        if found != seen:
            seen, since = found, time.monotonic()
        time.sleep(min(1.0, lease_seconds / 4))
    raise ServiceError(
        f"{marker}: another run has been writing here for {WAIT_LIMIT_SECONDS / 60:.0f} minutes; try again later, or"
        " delete this object if no run is"
    )


def _etag(client: Any, marker: S3Location) -> str:
    """The marker's present state; empty where it is gone."""
    from botocore.exceptions import ClientError

    with explained(marker, client.meta.endpoint_url):
        try:
            return str(client.head_object(Bucket=marker.bucket, Key=marker.key)["ETag"])
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey"):
                return ""
            raise
