"""Keeps the cache folder below a limit: what was not used for the longest time goes first, what a run uses never.

A run holds the lock of a file in ``users/`` from before it fetches anything until it ends; the kernel releases it when
the process dies. What was used since the oldest such run began, or in the last hour, stays.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import ConfigError
from autocast_core.process.file_lock import lock, try_lock
from tasks.storage.cache import Cache

CACHE_BYTES = "AUTOCAST_CACHE_BYTES"
DEFAULT_BYTES = 64 << 30
_GRACE_SECONDS = 3600.0
_UNFINISHED_SECONDS = 7 * 86400.0
"""For so long a transfer that was cut off can be gone on with."""

LOG = logging.getLogger(__name__)


def limit_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """The most bytes that the cache may hold. ConfigError where AUTOCAST_CACHE_BYTES is not a positive whole number."""
    text = environment.get(CACHE_BYTES) or str(DEFAULT_BYTES)
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{CACHE_BYTES} is {text!r}: give a positive whole number of bytes")
    return int(text)


@contextmanager
def cache_in_use(folder: Path | None, limit: int) -> Iterator[None]:
    """Removes what is beyond `limit` bytes, then keeps others from removing what is used within the block."""
    cache = Cache.open(folder)
    users = cache.root / "users"
    with cache.writing():
        users.mkdir(exist_ok=True)
        mark = users / uuid.uuid4().hex
        file = mark.open("xb")
    try:
        lock(file)
        prune(cache, limit)
        yield
    finally:
        file.close()
        mark.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Entry:
    """A set of files, or a complete transfer; `used` in seconds since 1970, `references` lead to it."""

    path: Path
    bytes: int
    used: float
    references: tuple[Path, ...]


def prune(cache: Cache, limit: int) -> tuple[Path, ...]:
    """Removes entries, least recently used first, until the cache holds at most `limit` bytes; returns what it removed.

    What may be in use stays, also beyond the limit. OutputError where the folder cannot be changed.
    """
    now = time.time()
    with cache.writing():
        began = _oldest_user(cache.root)
        _remove_unfinished(cache.root / "parts", min(began, now - _UNFINISHED_SECONDS))
        entries = sorted(_entries(cache.root), key=lambda entry: entry.used)
        total, oldest = sum(entry.bytes for entry in entries), min(began, now - _GRACE_SECONDS)
        removed = []
        for entry in entries:
            if total <= limit or entry.used >= oldest:
                break
            with cache.locked(f"place-{entry.path.name}"):
                _remove(entry, cache.root / "parts")
            removed.append(entry.path)
            total -= entry.bytes
    if removed:
        LOG.info("removed %d entries that were not used for the longest time from %s", len(removed), cache.root)
    return tuple(removed)


def _entries(root: Path) -> Iterator[_Entry]:
    leading: dict[Path, list[Path]] = {}
    for reference in (root / "references").iterdir():
        with suppress(OSError, ValueError, KeyError, TypeError):
            relative = Path(json.loads(reference.read_text())["path"])
            # A set is a folder in models/ or data/, whatever is in it; a complete transfer is a file in parts/.
            leading.setdefault(root / Path(*relative.parts[:2]), []).append(reference)
    for kind in ("models", "data", "parts"):
        for path in (root / kind).iterdir():
            if kind == "parts" and path not in leading:
                continue
            references = tuple(leading.get(path, ()))
            with suppress(FileNotFoundError):
                used = max((each.stat().st_mtime for each in references), default=path.stat().st_mtime)
                yield _Entry(path, _bytes(path), used, references)


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.lstat().st_size for file in files if not file.is_dir())


def _remove(entry: _Entry, parts: Path) -> None:
    for reference in entry.references:
        reference.unlink(missing_ok=True)
    # At once, so that nobody finds half of it.
    gone = parts / f"removed-{uuid.uuid4().hex}"
    entry.path.rename(gone)
    _delete(gone)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove_unfinished(parts: Path, before: float) -> None:
    """What was cut off and not gone on with: transfers, folders of downloads, and removals."""
    known = (".partial", ".done")
    for path in parts.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before and (path.suffix in known or path.is_dir()):
                _delete(path)


def _oldest_user(root: Path) -> float:
    """When the oldest run that is still alive began to use the cache; now where there is none. Forgets dead ones.

    A run that began in the future was there before the clock was set back: everything may be what it uses.
    """
    now = time.time()
    began = [now]
    for mark in (root / "users").glob("*") if (root / "users").is_dir() else ():
        with suppress(FileNotFoundError), mark.open("rb") as file:
            if try_lock(file):
                mark.unlink(missing_ok=True)
            else:
                since = mark.stat().st_mtime
                began.append(since if since <= now else 0.0)
    return min(began)
