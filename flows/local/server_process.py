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
from pathlib import Path

from autocast_core.process.file_lock import try_lock
from tasks.prefect_settings import ignore_settings_files

USERS = "users.lock"
NOTE = "server.json"
_LOOK_SECONDS = 0.5


def serve(port: int, folder: Path, idle_seconds: float) -> None:
    """Serves Prefect's API on the loopback interface until nobody has used it for `idle_seconds`."""
    import uvicorn

    threading.Thread(target=_end_when_unused, args=(folder, idle_seconds), daemon=True).start()
    ignore_settings_files()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


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
