"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from autocast_core.errors import OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_BUFFER_BYTES = 1 << 20


def check_destination(path: Path, needed: int) -> None:
    """OutputError where `path` cannot be created, or its disk has fewer than `needed` bytes left."""
    folder = path.absolute().parent
    if path.is_dir():
        raise OutputError(f"{path}: is a folder: give the name of a file")
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}: create it, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {folder} cannot be written: change its permissions, or write elsewhere")
    if shutil.disk_usage(folder).free < needed:
        raise OutputError(_full(path, needed))


@contextmanager
def written_whole(paths: tuple[Path, ...], needed: int) -> Iterator[tuple[BinaryIO, ...]]:
    """As `replacing`, with errors for users: OutputError where writing fails.

    `needed` is the number of bytes that will be written in all.
    """
    with _explained(paths[-1], needed), replacing(*paths) as files:
        yield files


@contextmanager
def replacing(*paths: Path) -> Iterator[tuple[BinaryIO, ...]]:
    """Open files beside `paths`, renamed into place in this order when the block ends, removed when it fails.

    OSError where a file cannot be written.
    """
    parts = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in paths]
    files: list[BinaryIO] = []
    try:
        files.extend(part.open("xb", buffering=_BUFFER_BYTES) for part in parts)
        yield tuple(files)
        for file in files:
            file.close()
        for part, path in zip(parts, paths, strict=True):
            part.replace(path)
    except BaseException:
        for file in files:
            with suppress(OSError):
                file.close()
        for part in parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        raise


@contextmanager
def _explained(path: Path, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise OutputError(_full(path, needed)) from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}: write elsewhere") from error


def _full(path: Path, needed: int) -> str:
    free = shutil.disk_usage(path.absolute().parent).free
    return f"{path}: the disk is full: {needed} bytes are needed, {free} are free: make room, or write elsewhere"
