"""This machine's folders: whose they are, whether they can be written, room on their disks; servers kept in them."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from autocast_core.errors import OutputError
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, warning, well
from flows.local.embedded_server import running_servers
from flows.local.own_files import check_home

_HOME, _DISK, _SERVERS = "home folder", "disk", "embedded server"
_TOO_LITTLE, _LITTLE = 1 << 30, 10 << 30
"""Free bytes: below the first hardly a model fits, below the second a large one does not."""


def home_folder(around: Surroundings) -> Results:
    """Whether the home folder is this user's and can be written, and the cache too."""
    root = around.home.root
    try:
        check_home(around.home)
    except OutputError as error:
        return (problem_of(_HOME, error),)
    remedy = "set AUTOCAST_HOME to a writable folder"
    if root.exists():
        try:
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            return (problem(_HOME, f"{root} cannot be written ({error.strerror})", remedy),)
    elif not _can_be_made(root):
        return (problem(_HOME, f"{root} cannot be made", remedy),)
    results = [well(_HOME, f"{root}" if root.exists() else f"{root}: made by the first run")]
    if not _can_be_made(around.cache):
        results.append(problem(_HOME, f"the cache {around.cache} cannot be written", "set AUTOCAST_CACHE to a folder"))
    return tuple(results)


def disk(around: Surroundings) -> Results:
    """Whether there is room where runs work, fetched models are kept and temporary files lie."""
    results: dict[int, CheckResult] = {}
    for path, variable in (
        (around.home.root, "AUTOCAST_HOME"),
        (around.cache, "AUTOCAST_CACHE"),
        (Path(tempfile.gettempdir()), "TMPDIR"),
    ):
        existing = _existing(path)
        free = shutil.disk_usage(existing).free
        what = f"{free / (1 << 30):.1f} GiB free at {existing}"
        remedy = f"make room, or set {variable} to a folder with room"
        if free < _TOO_LITTLE:
            result = problem(_DISK, what, remedy)
        elif free < _LITTLE:
            result = warning(_DISK, what, remedy)
        else:
            result = well(_DISK, what)
        results.setdefault(existing.stat().st_dev, result)
    return tuple(results.values())


def embedded_servers(around: Surroundings) -> Results:
    """Whether Prefect's servers that commands keep in the home folder answer."""
    servers = running_servers(around.home.server)
    if not servers:
        return (well(_SERVERS, "none is kept"),)
    return tuple(
        well(_SERVERS, f"port {server.port}, process {server.process}")
        if server.answers()
        else problem(
            _SERVERS, f"process {server.process} does not answer on port {server.port}", "end it with autocast stop"
        )
        for server in servers
    )


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    whole = path.absolute()
    return next(each for each in (whole, *whole.parents) if each.exists())


def _can_be_made(path: Path) -> bool:
    existing = _existing(path)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
