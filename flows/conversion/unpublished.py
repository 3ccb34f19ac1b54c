"""What becomes of a finished conversion whose servers do not answer when it is to be recorded and published.

A deployed run keeps its files, as long as all that are kept so have at most AUTOCAST_UNPUBLISHED_BYTES together, and
ends as Unpublished; `reconcile-registry` lets it go on once MLflow answers, and it records and publishes what it has.
After a week, or beyond the limit, the conversion is said to be lost. A run of a command is said to be lost at once: its
files go with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from autocast_core.errors import ServiceError
from tasks.settings import positive_number

LIMIT = "AUTOCAST_UNPUBLISHED_BYTES"
_DEFAULT_BYTES = 64 << 30
_MARK = ".unpublished"
"""A file in the work folder of a conversion that waits to be published."""


class UnpublishedError(ServiceError):
    """The conversion is finished and not published; with `is_kept`, its files wait for a retry."""

    def __init__(self, message: str, is_kept: bool) -> None:
        super().__init__(message)
        self.is_kept = is_kept


def unpublished(
    folder: Path, error: ServiceError, *, deployed: bool, environment: Mapping[str, str] = os.environ
) -> UnpublishedError:
    """The error of a finished conversion with its files in `folder`, which `error` kept from being published. The
    folder is marked as kept where the run is `deployed` and there is room for it beside the other kept ones."""
    if not deployed:
        return UnpublishedError(f"the finished conversion is lost, as it cannot be recorded: {error}", False)
    limit = int(positive_number(environment, LIMIT, _DEFAULT_BYTES))
    kept = sum(_bytes_of(mark.parent) for mark in folder.parent.glob(f"*/{_MARK}") if mark.parent != folder)
    if kept + _bytes_of(folder) > limit:
        room = f"{kept} bytes of others wait already, and {LIMIT} is {limit}"
        return UnpublishedError(f"the finished conversion is lost, as it cannot be recorded ({room}): {error}", False)
    (folder / _MARK).touch()
    return UnpublishedError(
        f"the conversion is finished and waits to be published, which reconcile-registry does within a week: {error}",
        True,
    )


def is_published(folder: Path) -> None:
    """Takes back the mark of a conversion that was unpublished."""
    (folder / _MARK).unlink(missing_ok=True)


def _bytes_of(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
