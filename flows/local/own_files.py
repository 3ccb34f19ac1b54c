"""What below a home folder is this user's own: the rest is neither followed, read nor deleted.

A folder that was downloaded, unpacked or shared may bring a `.autocast` of its own, with links in it.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import IO
from uuid import UUID

from autocast_core.errors import OutputError
from flows.local.home import Home

_MARKER = ".autocast-work"
_TEXT = "AutoCast Flow\n"
_ROOT = 0


def check_home(home: Home) -> None:
    """OutputError where another user owns the home folder or the folder it lies in, or where one of its folders is a
    link: whoever made it chooses what this process reads, writes and deletes. The superuser's folders are trusted."""
    root = home.root.absolute()
    remedy = "set AUTOCAST_HOME to a folder of your own"
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    for folder in {existing, root.parent} if not home.root.is_absolute() else {existing}:
        if folder.exists() and folder.stat().st_uid not in (os.getuid(), _ROOT):
            raise OutputError(f"{folder}: belongs to another user: {remedy}")
    own = (
        home.cache,
        home.work,
        home.logs,
        home.prefect,
        home.server,
        home.forks,
        home.running,
        home.root / "mlflow.db",
    )
    for path in (*own, *(() if home.root.is_absolute() else (home.root,))):
        if path.is_symlink():
            raise OutputError(f"{path}: is a link, which is not followed: remove it, or {remedy}")


def make_work_folder(home: Home, flow_run: str) -> Path:
    """The folder of a flow run's intermediate files, absolute, with the marker that lets it be deleted.

    OutputError where it cannot be made.
    """
    folder = home.work.absolute() / flow_run
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_own_folder(home.work) or not _is_own_folder(folder):
            raise OutputError(f"{folder}: is a link or another user's: set AUTOCAST_HOME to a folder of your own")
        if not _is_own_file(folder / _MARKER):
            with create_own_file(folder / _MARKER) as file:
                file.write(_TEXT)
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be made ({error.strerror}); set AUTOCAST_HOME to a writable folder"
        ) from error
    return folder


def work_folders(home: Home) -> tuple[Path, ...]:
    """The folders that `make_work_folder` made; no link is followed to find one."""
    if not _is_own_folder(home.work):
        return ()
    return tuple(folder for folder in home.work.iterdir() if _is_work_folder(folder))


def delete_work_folder(home: Home, flow_run: str) -> None:
    """Deletes what `make_work_folder` made for the flow run; anything else of that name stays."""
    folder = home.work / flow_run
    if _is_own_folder(home.work) and _is_work_folder(folder):
        shutil.rmtree(folder, ignore_errors=True)


def open_own_file(path: Path) -> IO[str]:
    """The text file at `path`, open for reading. OSError where it is a link, no plain file or another user's."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        os.close(descriptor)
        raise PermissionError(f"{path} is not a file of this user")
    return open(descriptor, encoding="utf-8")


def create_own_file(path: Path) -> IO[str]:
    """A new text file at `path` that only this user may read, open for writing. OSError where something is there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    return open(descriptor, "w", encoding="utf-8")


def _is_work_folder(folder: Path) -> bool:
    try:
        named = str(UUID(folder.name)) == folder.name
    except ValueError:
        return False
    return named and _is_own_folder(folder) and _is_own_file(folder / _MARKER)


def _is_own_folder(path: Path) -> bool:
    return _is_own(path, stat.S_IFDIR)


def _is_own_file(path: Path) -> bool:
    return _is_own(path, stat.S_IFREG)


def _is_own(path: Path, kind: int) -> bool:
    """Whether `path` itself, not what a link there leads to, is of this kind and this user's."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_IFMT(found.st_mode) == kind and found.st_uid == os.getuid()
