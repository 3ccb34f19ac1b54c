"""Prefect's server in a process of its own: the application that Prefect itself embeds, until nobody uses it.

Started by `flows.local.embedded_server` as ``python -m flows.local.server_process PORT FOLDER IDLE_SECONDS``. Those who
use it hold a shared lock on the file `USERS` in FOLDER, which the kernel releases whatever a user dies of.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from autocast_core.process.file_lock import try_lock
from tasks.prefect_settings import ignore_settings_files

USERS = "users.lock"
NOTE = "server.json"
_LOOK_SECONDS = 0.5
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 4.0
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[_Message, _Receive, _Send], Awaitable[None]]
"""ASGI's, https://asgi.readthedocs.io/en/latest/specs/main.html"""


def serve(port: int, folder: Path, idle_seconds: float) -> None:
    """Serves Prefect's API on the loopback interface until nobody has used it for `idle_seconds`."""
    import uvicorn

    threading.Thread(target=_end_when_unused, args=(folder, idle_seconds), daemon=True).start()
    ignore_settings_files()
    uvicorn.run(
        "flows.local.server_process:application",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


def application() -> _Application:
    """Prefect's, which tells clients to try again soon where its database was locked."""
    from prefect.server.api.server import create_app

    return with_short_waits(create_app())


def with_short_waits(application: _Application, clock: Callable[[], float] = time.monotonic) -> _Application:
    """The application, whose responses 503 say that the request may be sent again after a tenth of a second, or, where
    there were others in the last seconds, after twice as long for each, up to 4 s.

    Prefect responds so where another request wrote to sqlite at the same moment, and its client waits 2 s unless told.
    It gives up after seven tries, which must not be over while the runs of a fleet write side by side.
    """
    locked: deque[float] = deque()

    def wait() -> float:
        now = clock()
        while locked and locked[0] < now - _LONGEST_WAIT:
            locked.popleft()
        locked.append(now)
        return float(min(_FIRST_WAIT * 2 ** (len(locked) - 1), _LONGEST_WAIT))

    async def respond(scope: _Message, receive: _Receive, send: _Send) -> None:
        async def told(message: _Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                message["headers"] = [*message.get("headers", ()), (b"retry-after", f"{wait():g}".encode())]
            await send(message)

        await application(scope, receive, told)

    return respond


def _end_when_unused(folder: Path, idle_seconds: float) -> None:
    """Ends this process once nobody has used it for `idle_seconds`, or its folder was deleted.

    The exclusive lock is kept from the decision to the end: who wants to use the server meanwhile waits, and then finds
    that there is none.
    """
    used = time.monotonic()
    while True:
        time.sleep(_LOOK_SECONDS)
        try:
            with open(folder / USERS, "rb") as users:
                if not try_lock(users):
                    used = time.monotonic()
                elif time.monotonic() - used >= idle_seconds:
                    (folder / NOTE).unlink(missing_ok=True)
                    _end()
        except OSError:
            _end()


def _end() -> None:
    """Ends this process as its server does when it is told to, and in any case within seconds."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(1)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
