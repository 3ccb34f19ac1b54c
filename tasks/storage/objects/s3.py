"""The S3 client and the two questions asked before any transfer: what exactly is there, and which objects."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocast_core.errors import ConfigError, InputError
from autocast_core.text import one_line
from tasks.storage.objects.s3_errors import CREDENTIALS, NoSuchObjectError, error_code, explained
from tasks.storage.uri import S3Location, without_credentials


@dataclass(frozen=True)
class S3Options:
    """How objects are transferred; times in seconds, sizes in bytes.

    `attempts` None: the environment's AWS_MAX_ATTEMPTS, else 8.
    """

    attempts: int | None = None
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    part_bytes: int = 8 << 20
    workers: int = 4
    lease_seconds: float = 60.0
    """A writer that gives no sign for so long has lost its destination."""

    @property
    def total_attempts(self) -> int:
        text = os.environ.get("AWS_MAX_ATTEMPTS", "8") if self.attempts is None else str(self.attempts)
        if not text.isdigit() or int(text) < 1:
            raise ConfigError(f"AWS_MAX_ATTEMPTS is {text!r}: give a positive whole number")
        return int(text)


DEFAULTS = S3Options()


@dataclass(frozen=True)
class PinnedObject:
    """One immutable state of an object: its version, or for a bucket without versions its ETag."""

    location: S3Location
    etag: str
    size: int
    sha256: str | None
    """Of the content, in hex, where the object carries one."""

    @property
    def request(self) -> dict[str, str]:
        """The arguments that make a GetObject answer with this state or not at all."""
        version = {"VersionId": self.location.version_id} if self.location.version_id else {}
        return {"Bucket": self.location.bucket, "Key": self.location.key, "IfMatch": self.etag, **version}


def connect(options: S3Options = DEFAULTS) -> Any:
    """A boto3 S3 client from the standard environment: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_PROFILE, AWS_REGION
    (default us-east-1) and the usual credentials. Any endpoint but Amazon's is addressed by path.

    InputError or ConfigError when the environment names a profile or endpoint that cannot be used.
    """
    import boto3
    from botocore.exceptions import BotoCoreError, PartialCredentialsError

    try:
        session = boto3.session.Session()
        region = session.region_name or os.environ.get("AWS_REGION") or "us-east-1"
        client = session.client("s3", region_name=region, config=_config(options, "auto"))
        if ".amazonaws.com" not in client.meta.endpoint_url:
            client = session.client("s3", region_name=region, config=_config(options, "path"))
        return client
    except ValueError as error:
        raise ConfigError("AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not a URL: write http://HOST:PORT") from error
    except PartialCredentialsError as error:
        raise InputError(f"half of the credentials is missing; set both {CREDENTIALS}") from error
    except BotoCoreError as error:
        raise InputError(
            f"the AWS settings cannot be used ({type(error).__name__}); check AWS_PROFILE and ~/.aws"
        ) from error


def _config(options: S3Options, addressing: str) -> Any:
    from botocore.config import Config

    return Config(
        retries={"mode": "standard", "total_max_attempts": options.total_attempts},
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        max_pool_connections=max(10, 2 * options.workers),
        tcp_keepalive=True,
        s3={"addressing_style": addressing},
    )


def check_bucket(client: Any, location: S3Location) -> None:
    """InputError where there is no such bucket or no credentials, ServiceError where the server does not answer.

    A bucket that may not be listed is not asked further: writing to it may be allowed.
    """
    from botocore.exceptions import ClientError

    endpoint = client.meta.endpoint_url
    with explained(location, endpoint):
        try:
            client.head_bucket(Bucket=location.bucket)
        except ClientError as error:
            code = error_code(error)
            if code in ("404", "NoSuchBucket"):
                raise InputError(
                    f"{location} at {without_credentials(endpoint)}: there is no bucket {location.bucket}; create it,"
                    " or check the name"
                ) from error
            if code not in ("403", "AccessDenied"):
                raise


def pin(client: Any, location: S3Location) -> PinnedObject:
    """The present state of the object, or of the version that `location` names.

    InputError where there is none or it may not be read, ServiceError where the server does not answer.
    """
    from botocore.exceptions import ClientError

    version = {"VersionId": location.version_id} if location.version_id else {}
    where = {"Bucket": location.bucket, "Key": location.key, **version}
    with explained(location, client.meta.endpoint_url):
        try:
            head = client.head_object(ChecksumMode="ENABLED", **where)
        except ClientError as error:
            if error_code(error).isdigit():
                # A HEAD has no body that could say why; a GET has.
                client.get_object(Range="bytes=0-0", **where)["Body"].close()
            raise
    version_id = head.get("VersionId")
    pinned = S3Location(location.bucket, location.key, None if version_id in (None, "null") else version_id)
    if "ETag" not in head or "ContentLength" not in head:
        raise InputError(
            f"{pinned} at {without_credentials(client.meta.endpoint_url)}: the server tells no ETag or length of the"
            " object; check that AWS_ENDPOINT_URL_S3 is the address of an S3 server"
        )
    return PinnedObject(pinned, head["ETag"], head["ContentLength"], _sha256(head, pinned))


def _sha256(head: Mapping[str, Any], location: S3Location) -> str | None:
    """The digest in the object's metadata, else S3's own checksum where it covers the whole object.

    InputError where that is not base64.
    """
    recorded: str = head.get("Metadata", {}).get("sha256", "").strip().lower()
    if recorded:
        return recorded
    checksum = head.get("ChecksumSHA256", "")
    # "...-5" is a checksum of five parts' checksums.
    if not checksum or "-" in checksum or head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except ValueError as error:
        shown = one_line(checksum, 80)
        raise InputError(f"{location}: its recorded checksum {shown!r} is not base64; upload it again") from error


def find(client: Any, location: S3Location) -> PinnedObject | None:
    """As `pin`, but None where the bucket holds no such object."""
    try:
        return pin(client, location)
    except NoSuchObjectError:
        return None


def list_names(client: Any, prefix: S3Location) -> tuple[str, ...]:
    """The names of the objects directly under `prefix`, in order, without deeper ones and without folder markers.

    InputError where the server lists something that is no such name: it would become the path of a file.
    """
    start = prefix.under("").key
    with explained(prefix, client.meta.endpoint_url):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=prefix.bucket, Prefix=start, Delimiter="/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
    return tuple(sorted(_name_below(start, key, prefix) for key in keys if key != start))


def _name_below(start: str, key: str, prefix: S3Location) -> str:
    name = key.removeprefix(start)
    if not key.startswith(start) or "/" in name or "\0" in name or name in (".", ".."):
        raise InputError(f"{prefix}: the server lists {one_line(key, 200)!r}, which is not an object directly below it")
    return name
