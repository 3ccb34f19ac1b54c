"""Hands this process's command over to the fork server, where there is one."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from typing import Any

from autocast_core.errors import AutocastError
from flows.local.environment import settled_home
from flows.local.forks.alike import process_key
from flows.local.forks.handed import NUMBER, HandedCommand, is_from_this_user, read
from flows.local.forks.launch import short_name, socket_of
from flows.local.home import home
from flows.local.user_settings import apply_settings_file

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def hand_over() -> int | None:
    """The exit status of the fork that ran this process's command; None where there is no fork server for it.

    Negative where a signal ended the fork, as of subprocess. Meanwhile signals to this process go to the fork.
    """
    try:
        # Its settings are this process's, as it runs the command itself where there is no fork server.
        apply_settings_file(os.environ)
        if os.environ.get("PREFECT_API_URL") or not home().forks.is_dir():
            return None
        where = settled_home()
        path = socket_of(where.forks, process_key(os.environ))
        with ExitStack() as stack:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            with short_name(path) as name:
                connection.connect(name)
            if not is_from_this_user(connection):
                return None
            HandedCommand.of_this_process().send(connection)
            (fork,) = NUMBER.unpack(read(connection, NUMBER.size))
            stack.pop_all()
    except (AutocastError, OSError, EOFError):
        return None
    _forward_signals(fork)
    return _status(connection)


def _status(connection: socket.socket) -> int:
    with connection:
        try:
            (status,) = NUMBER.unpack(read(connection, NUMBER.size))
        except (OSError, EOFError):
            # The fork server was killed, and its forks end with their connection.
            return -signal.SIGKILL
    return int(status)


def _forward_signals(fork: int) -> None:
    """What this process is told from now on is told to the process `fork`, but for signals that it ignores."""

    def forward(number: int, _: Any) -> None:
        os.kill(fork, number)

    def stop(_: int, __: Any) -> None:
        os.kill(fork, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.kill(fork, signal.SIGCONT)

    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, forward)
    if signal.getsignal(signal.SIGTSTP) != signal.SIG_IGN:
        signal.signal(signal.SIGTSTP, stop)
