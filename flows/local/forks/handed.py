"""A command as it is handed over, from one process to another over a socket."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_STANDARD = 3
_HEADER = struct.Struct("!I")
_PEER = struct.Struct("3i")
"""Process, user and group, as the kernel gives them."""
NUMBER = struct.Struct("!i")
"""How process id and exit status are sent back."""


@dataclass(frozen=True)
class HandedCommand:
    """What a process knows of itself beyond its standard streams."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str
    umask: int
    import_path: Sequence[str]

    @staticmethod
    def of_this_process() -> HandedCommand:
        umask = os.umask(0)
        os.umask(umask)
        return HandedCommand(sys.argv, dict(os.environ), str(Path.cwd()), umask, sys.path)

    def send(self, connection: socket.socket) -> None:
        """Sends it with this process's standard streams."""
        text = json.dumps(asdict(self)).encode()
        socket.send_fds(connection, [_HEADER.pack(len(text))], range(_STANDARD))
        connection.sendall(text)

    @staticmethod
    def receive(connection: socket.socket) -> tuple[HandedCommand, list[int]]:
        """What `send` sent, and the streams' descriptors. EOFError where the other end is gone."""
        header, streams, _, _ = socket.recv_fds(connection, _HEADER.size, _STANDARD)
        (size,) = _HEADER.unpack(header + read(connection, _HEADER.size - len(header)))
        return HandedCommand(**json.loads(read(connection, size))), streams

    def become(self, streams: Sequence[int]) -> None:
        """Makes this process one that was started as the command was."""
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self.folder)
        os.umask(self.umask)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[:], sys.path[:] = self.arguments, self.import_path
        sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_from_this_user(connection: socket.socket) -> bool:
    """Whether this user's process is at the other end (SO_PEERCRED of unix(7)); False where the system does not say:
    what is handed over holds credentials, and who hands it over chooses what is run."""
    if not hasattr(socket, "SO_PEERCRED"):
        return False
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    _, user, _ = _PEER.unpack(found)
    return bool(user == os.getuid())


def read(connection: socket.socket, size: int) -> bytes:
    """The next `size` bytes. EOFError where the other end is gone."""
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise EOFError("the other end is gone")
        found += part
    return found
