"""Starts the fork server of this home folder, and says where commands find it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from autocast_core.process.child import module_command, with_package_path
from autocast_core.process.file_lock import try_lock

_LOG = "fork_server.log"
_WAITING = 8


def socket_of(folder: Path, key: str) -> Path:
    """The socket of the fork server for processes of this key."""
    return folder / f"{key}.socket"


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of the socket at `path` that fits into the 108 bytes that the kernel allows (unix(7)). OSError where its
    folder cannot be opened."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        within = Path(f"/proc/self/fd/{folder}")
        yield str(within / path.name if within.exists() else path)
    finally:
        os.close(folder)


def keep_fork_server(folder: Path, key: str, server: Path, environment: Mapping[str, str]) -> None:
    """Starts a fork server in `folder` for processes of this key, where there is none, and has those for others end.

    It lives as long as the embedded server of the folder `server`, which `environment` names. OSError where the folder
    cannot be written.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = socket_of(folder, key)
    with open(path.with_suffix(".lock"), "ab") as alive:
        if not try_lock(alive):
            return
        for other in folder.iterdir():
            # Without its socket a fork server ends.
            if other.suffix in (".socket", ".lock") and other != path.with_suffix(".lock"):
                other.unlink(missing_ok=True)
        with (
            socket.socket(socket.AF_UNIX) as listening,
            short_name(path) as name,
            open(folder / _LOG, "ab") as log,
        ):
            listening.bind(name)
            listening.listen(_WAITING)
            passed = listening.fileno(), alive.fileno()
            subprocess.Popen(
                module_command("flows.local.forks.fork_server", *map(str, passed), str(path), str(server)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=with_package_path(environment),
                # The lock belongs to the open file, which is the fork server's from now on.
                pass_fds=passed,
                start_new_session=True,
            )
