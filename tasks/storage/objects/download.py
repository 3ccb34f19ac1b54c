"""Fetches pinned objects into the cache: in ranges, resumed after a break, never mixed from two states of an object."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autocast_core.errors import InputError, OutputError, ServiceError
from autocast_core.file_digest import file_digest
from autocast_core.progress import Progress, ProgressCallback, silent
from tasks.storage.cache import Cache, CachedFile, reference_of
from tasks.storage.objects.s3 import PinnedObject, S3Options
from tasks.storage.objects.s3_errors import explained

_BLOCK = 1 << 20


def fetch_object(
    client: Any, pinned: PinnedObject, cache: Cache, options: S3Options, progress: ProgressCallback = silent
) -> str:
    """Brings the object into the cache, unless it is there unharmed, and returns the reference that leads to it.

    `progress` is called in the caller's thread after every range; what it raises ends the transfer, and the next call
    resumes from there. Every range asks for the pinned state, so a changed object is a ServiceError and not a mixture.
    Where the object carries a sha256, it is checked: InputError when a second transfer does not fit it either.
    """
    reference = reference_of(client.meta.endpoint_url, str(pinned.location), pinned.etag, str(pinned.size))
    with cache.locked(reference):
        known = cache.recall(reference)
        if known is not None and file_digest(known.path) == known.digest:
            progress(Progress("fetch", pinned.size, pinned.size, "bytes"))
            return reference
        with cache.writing():
            digest = _transfer(client, pinned, cache.part(reference), options, progress)
            if pinned.sha256 not in (None, digest):
                digest = _transfer(client, pinned, cache.part(reference), options, progress)
        if pinned.sha256 not in (None, digest):
            cache.part(reference).unlink()
            raise InputError(
                f"{pinned.location}: its content has sha256 {digest}, but the object records {pinned.sha256}: it was "
                "damaged or recorded wrongly; upload it again"
            )
        with cache.writing():
            cache.remember(reference, CachedFile(cache.part(reference), digest))
    return reference


@dataclass(frozen=True)
class _Parts:
    """An unfinished transfer: the file, its equal parts, and a list of those that are written and on the disk."""

    path: Path
    size: int
    part_bytes: int

    @property
    def partial(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{self.part_bytes}.partial")

    @property
    def journal(self) -> Path:
        return self.path.with_name(f"{self.path.name}.{self.part_bytes}.done")

    def start(self) -> None:
        """Forgets what an earlier transfer left, unless it can be gone on with."""
        if not (self.partial.is_file() and self.partial.stat().st_size == self.size and self.journal.is_file()):
            self.journal.unlink(missing_ok=True)
            self.partial.unlink(missing_ok=True)
            self.journal.touch()

    def missing(self) -> list[tuple[int, int]]:
        """The first and last byte of every part that is still to be transferred."""
        done = set(self.journal.read_text().split())
        starts = (start for start in range(0, self.size, self.part_bytes) if str(start) not in done)
        return [(start, min(start + self.part_bytes, self.size) - 1) for start in starts]


def _transfer(client: Any, pinned: PinnedObject, path: Path, options: S3Options, progress: ProgressCallback) -> str:
    """Writes the whole object to `path` and returns its sha256."""
    parts = _Parts(path, pinned.size, options.part_bytes)
    _check_free(parts)
    parts.start()
    missing = parts.missing()
    done = pinned.size - sum(last - first + 1 for first, last in missing)
    progress(Progress("fetch", done, pinned.size, "bytes"))
    with _writable(parts) as descriptor, open(parts.journal, "a") as finished:
        for first, last in _transferred(client, pinned, descriptor, missing, options):
            finished.write(f"{first}\n")
            finished.flush()
            done += last - first + 1
            progress(Progress("fetch", done, pinned.size, "bytes"))
    digest = file_digest(parts.partial)
    parts.partial.replace(path)
    parts.journal.unlink()
    return digest


def _check_free(parts: _Parts) -> None:
    """OutputError where the disk has no room: before anything is planned, as the size is what a server says."""
    folder = parts.path.parent
    needed, free = parts.size - _allocated(parts.partial), shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"cache folder {folder.parent}: {needed} bytes are needed and {free} are free; free space there, or set "
            "AUTOCAST_CACHE to another folder"
        )


@contextmanager
def _writable(parts: _Parts) -> Iterator[int]:
    """The partial file, at its full size, open for writing."""
    descriptor = os.open(parts.partial, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        os.ftruncate(descriptor, parts.size)
        yield descriptor
    finally:
        os.close(descriptor)


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.exists() else 0


def _transferred(
    client: Any, pinned: PinnedObject, descriptor: int, ranges: list[tuple[int, int]], options: S3Options
) -> Iterator[tuple[int, int]]:
    """Transfers the ranges at the same time and yields each when it is on the disk."""
    with ThreadPoolExecutor(options.workers, thread_name_prefix="s3-range") as pool:
        futures = {pool.submit(_range, client, pinned, descriptor, *span, options): span for span in ranges}
        try:
            for future in as_completed(futures):
                future.result()
                yield futures[future]
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _BrokenStreamError(Exception):
    """The connection broke while a body was read, which botocore does not retry."""


def _range(client: Any, pinned: PinnedObject, descriptor: int, first: int, last: int, options: S3Options) -> None:
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

    retrying = Retrying(
        stop=stop_after_attempt(options.total_attempts),
        wait=wait_exponential_jitter(initial=0.2, max=20),
        retry=retry_if_exception_type(_BrokenStreamError),
        reraise=True,
    )
    try:
        with explained(pinned.location, client.meta.endpoint_url):
            retrying(_range_once, client, pinned, descriptor, first, last)
    except _BrokenStreamError as error:
        raise ServiceError(
            f"{pinned.location} at {client.meta.endpoint_url}: the connection breaks again and again while bytes "
            f"{first} to {last} are read; try again: what was transferred is kept"
        ) from error


def _range_once(client: Any, pinned: PinnedObject, descriptor: int, first: int, last: int) -> None:
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    response = client.get_object(Range=f"bytes={first}-{last}", **pinned.request)
    if response["ContentLength"] != last - first + 1:
        raise ServiceError(f"{pinned.location}: the server ignores byte ranges; use one that speaks S3's GetObject")
    position = first
    try:
        for block in response["Body"].iter_chunks(_BLOCK):
            position += _write(descriptor, block, position)
    except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError) as error:
        raise _BrokenStreamError from error
    if position != last + 1:
        raise _BrokenStreamError
    os.fdatasync(descriptor)


def _write(descriptor: int, block: bytes, position: int) -> int:
    written = 0
    while written < len(block):
        written += os.pwrite(descriptor, block[written:], position + written)
    return written
