"""Results of runs on S3, which every machine can read.

Prefect's own file systems need fsspec and s3fs for S3, and keep credentials on Prefect's server. This block is the
location alone: each process reads and writes it with the S3 settings of its own environment.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.filesystems import WritableFileSystem
from pydantic import Field, PrivateAttr

from autocast_core.errors import ConfigError
from tasks.settings import RESULT_BLOCK
from tasks.storage.uri import S3Location, parse_uri

_TYPE, _, _DOCUMENT = RESULT_BLOCK.partition("/")


class S3Results(WritableFileSystem):
    """Results as objects below an s3:// prefix."""

    _block_type_name = "AutoCast results on S3"
    _block_type_slug = _TYPE
    _description = "Results of AutoCast Flow's runs, in S3 with the credentials of whoever reads them."

    location: str = Field(description="An s3:// prefix; it ends in /.")
    _client: Any = PrivateAttr(None)

    # Prefect declares both as async, and calls them so only by the names with an a; `_sync` is its own.
    def read_path(self, path: str, _sync: bool = True) -> bytes:  # type: ignore[override]
        """The object of this name. ValueError where there is none, as Prefect expects it; ServiceError or InputError
        where S3 cannot be read."""
        from tasks.storage.objects.s3_errors import NoSuchObjectError, explained

        place, client = self._place(path), self._connected()
        try:
            with explained(place, client.meta.endpoint_url):
                return bytes(client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read())
        except NoSuchObjectError as error:
            raise ValueError(f"{place}: there is no such result") from error

    def write_path(self, path: str, content: bytes, _sync: bool = True) -> None:  # type: ignore[override]
        """Writes the object of this name. ServiceError or InputError where that cannot be done."""
        from tasks.storage.objects.s3_errors import explained

        place, client = self._place(path), self._connected()
        with explained(place, client.meta.endpoint_url):
            client.put_object(Bucket=place.bucket, Key=place.key, Body=content)

    async def aread_path(self, path: str) -> bytes:
        """As `read_path`."""
        return await asyncio.to_thread(self.read_path, path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """As `write_path`."""
        await asyncio.to_thread(self.write_path, path, content)

    def _place(self, path: str) -> S3Location:
        return result_prefix(self.location).under(path)

    def _connected(self) -> Any:
        from tasks.storage.objects.s3 import connect

        if self._client is None:
            self._client = connect()
        return self._client


def result_prefix(location: str) -> S3Location:
    """Where results go. ConfigError unless `location` is an s3:// prefix."""
    place = parse_uri(location)
    if not isinstance(place, S3Location) or not place.is_prefix:
        raise ConfigError(f"result storage {location!r} is not a prefix in S3: write s3://BUCKET/PREFIX/")
    return place


def save_result_storage(location: str) -> None:
    """Tells Prefect's server that RESULT_BLOCK is the prefix `location`, in the place of what it was before.

    ConfigError as `result_prefix`.
    """
    S3Results(location=str(result_prefix(location))).save(_DOCUMENT, overwrite=True)
