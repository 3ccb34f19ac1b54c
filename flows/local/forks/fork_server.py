"""The fork server: ``python -P -m flows.local.forks.fork_server LISTENING ALIVE SOCKET SERVER``.

It imports what flows need and forks for each connection on the socket LISTENING; the fork reads the command, becomes it
and runs it. It ends with the embedded server of the folder SERVER, whose address Prefect read when it was imported, or
once its own file SOCKET was removed, and in any case not before its forks. Its lock, the open file ALIVE, is free then.

One thread and no event loop: a fork has only the thread that called it.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from autocast_core.process.file_lock import lock_shared
from autocast_core.process.garbage_collector import keep_for_good
from flows.local.embedded_server import running_server
from flows.local.forks.handed import NUMBER, HandedCommand, is_from_this_user
from flows.local.server_process import USERS
from tasks.prefect_settings import ignore_settings_files

PRELOADED = (
    "flows.cli.run",
    "flows.convert_model",
    "flows.tune_precision",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)
"""Not ONNX Runtime, which has a thread from its import on: a process forked after that hangs or aborts at its end."""
_LOOK_SECONDS = 0.5


class ForkServer:
    """Listens at `path` as long as the embedded server of the folder `server` lives."""

    def __init__(self, listening: socket.socket, path: Path, server: Path) -> None:
        self._listening, self._path, self._server = listening, path, server
        self._forks: dict[int, socket.socket] = {}
        """By process id the connection to whom a fork stands for."""
        self._began_with = running_server(server)
        self._own = path.stat().st_ino

    def serve(self) -> socket.socket | None:
        """In a fork, the connection from which to read its command; None once the server is to end."""
        woken, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, _nothing)
        while (wanted := self._is_wanted()) or self._forks:
            ready, _, _ = select.select([woken, *([self._listening] if wanted else ())], (), (), _LOOK_SECONDS)
            if woken in ready:
                os.read(woken, 1024)
            self._report_ends()
            if self._listening in ready and (connection := self._fork()) is not None:
                return connection
        return None

    def _is_wanted(self) -> bool:
        """Whether commands may still come: the embedded server is the one of the beginning, and so is the socket."""
        try:
            is_own = self._path.stat().st_ino == self._own
        except OSError:
            return False
        return is_own and self._began_with is not None and running_server(self._server) == self._began_with

    def _fork(self) -> socket.socket | None:
        """Forks for the next connection, which the fork returns."""
        connection, _ = self._listening.accept()
        if not is_from_this_user(connection):
            connection.close()
            return None
        with open(self._server / USERS, "ab") as users:
            # The embedded server does not end while it is used; the fork has this lock as well.
            lock_shared(users)
            if not self._is_wanted():
                connection.close()
                return None
            fork = os.fork()
            if fork == 0:
                os.dup(users.fileno())
                for other in self._forks.values():
                    other.close()
                return connection
        self._forks[fork] = connection
        return None

    def _report_ends(self) -> None:
        for fork in list(self._forks):
            found, status = os.waitpid(fork, os.WNOHANG)
            if found:
                # Whom it stood for may be gone.
                with self._forks.pop(fork) as connection, suppress(OSError):
                    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def become_command(connection: socket.socket) -> None:
    """Makes this process the command that is read from the connection, and has it end where the other end dies."""
    os.setsid()
    command, streams = HandedCommand.receive(connection)
    command.become(streams)
    connection.sendall(NUMBER.pack(os.getpid()))
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()


def _end_with(connection: socket.socket) -> None:
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _nothing(*_: Any) -> None:
    """Handles SIGCHLD, so that it wakes this process."""


def main() -> None:
    """Imports, forks, and in each fork runs a command."""
    listening, alive = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    server = ForkServer(listening, Path(sys.argv[3]), Path(sys.argv[4]))
    ignore_settings_files()
    with keep_for_good():
        for module in PRELOADED:
            import_module(module)
    connection = server.serve()
    if connection is not None:
        listening.close()
        os.close(alive)
        become_command(connection)
        import_module("flows.cli").run_command()


if __name__ == "__main__":
    main()
