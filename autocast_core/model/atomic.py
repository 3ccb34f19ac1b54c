"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from autocast_core.errors import AutocastError, OutputError
from autocast_core.process.full_disk import FULL
from autocast_core.text import visible

_BUFFER_BYTES = 1 << 20


def check_destination(path: Path, needed: int) -> None:
    """OutputError where `path` cannot be created, or its disk has fewer than `needed` bytes left."""
    _check_name(path)
    folder = path.absolute().parent
    if path.is_dir():
        raise OutputError(f"{path}: is a folder: give the name of a file")
    check_plain(path)
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}: create it, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {folder} cannot be written: change its permissions, or write elsewhere")
    if shutil.disk_usage(folder).free < needed:
        raise OutputError(_full(path, needed))


def check_plain(path: Path) -> None:
    """OutputError where a link, a pipe or a device is at `path`: the rename would put a file in its place."""
    _check_name(path)
    if path.is_symlink():
        raise OutputError(f"{path}: is a link: give the name of the file itself, or remove the link")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is a pipe or device: give the name of a file")


def _check_name(path: Path) -> None:
    """OutputError where no file can have this name: it is too long, or holds a zero byte."""
    try:
        path.exists()
    except (OSError, ValueError) as error:
        raise OutputError(f"{visible(str(path))}: cannot be the name of a file: write elsewhere") from error


def check_inputs_stay(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """OutputError where one of `outputs` is the very file of one of `inputs`, whatever both are called."""
    read = {(found.st_dev, found.st_ino): path for path in inputs if (found := _stat(path)) is not None}
    for path in outputs:
        found = _stat(path)
        if found is not None and (found.st_dev, found.st_ino) in read:
            same = read[found.st_dev, found.st_ino]
            raise OutputError(f"{path}: is the input {same} and would be replaced: write elsewhere")


def model_outputs(path: Path) -> tuple[Path, Path]:
    """The files that a model written to `path` may consist of: itself, and its weights beside it."""
    return path, path.with_name(f"{path.name}.data")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@contextmanager
def written_whole(paths: tuple[Path, ...], needed: int) -> Iterator[tuple[BinaryIO, ...]]:
    """As `replacing`, with errors for users: OutputError where writing fails, or where a path is no plain file.

    `needed` is the number of bytes that will be written in all.
    """
    for path in paths:
        check_plain(path)
    with _explained(paths[-1], needed), replacing(*paths) as files:
        yield files


def write_whole(path: Path, content: bytes) -> None:
    """Writes one file; OutputError as `written_whole`."""
    with written_whole((path,), len(content)) as (file,):
        file.write(content)


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
    except AutocastError:
        raise
    except OSError as error:
        if error.errno in FULL:
            raise OutputError(_full(path, needed)) from error
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}: write elsewhere") from error


def _full(path: Path, needed: int) -> str:
    free = shutil.disk_usage(path.absolute().parent).free
    return f"{path}: the disk is full: {needed} bytes are needed, {free} are free: make room, or write elsewhere"
