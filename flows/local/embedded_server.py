"""Prefect's server as a child of this process, for runs on a machine without one.

Prefect can start such a child by itself, but only after its client was imported, in at most 20 seconds by default, and
with its messages on the terminal. Started here, it comes up while this process imports MLflow, and writes to a file.
`python -m flows.local.embedded_server PORT` is the child: the application that Prefect itself embeds.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import ServiceError
from autocast_core.process.child import module_command
from tasks.prefect_settings import ignore_settings_files, own_files_only

START_LIMIT_SECONDS = 180.0


@dataclass(frozen=True)
class EmbeddedServer:
    """A child that may still be starting; `wait` returns once it answers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def wait(self, limit_seconds: float = START_LIMIT_SECONDS) -> None:
        """Returns when the server is healthy. ServiceError when it ends, or is not healthy within the limit."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServiceError(f"Prefect's embedded server ended during its start; {self.log} says why")
            if self._answers():
                return
            time.sleep(0.1)
        raise ServiceError(
            f"Prefect's embedded server did not answer within {limit_seconds:.0f} s; see {self.log},"
            " or set PREFECT_API_URL to a running server"
        )

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def embedded_server(log: Path) -> Iterator[EmbeddedServer]:
    """Starts the child, which writes to `log`; ends it when the context is left or this process dies."""
    log.parent.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        **os.environ,
        **own_files_only(),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    with log.open("ab") as stream:
        process = subprocess.Popen(
            module_command("flows.local.embedded_server", str(port)),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            # An interrupt from the terminal must not take the server from a flow that still reports its end.
            start_new_session=True,
        )
    try:
        yield EmbeddedServer(process, port, log)
    finally:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            process.stdin.close()


def free_port() -> int:
    """A port on the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _serve(port: int) -> None:
    import uvicorn

    threading.Thread(target=_end_with_parent, daemon=True).start()
    ignore_settings_files()
    uvicorn.run(
        "prefect.server.api.server:create_app",
        factory=True,
        host="127.0.0.1",
        port=port,
        log_level="error",
        lifespan="on",
    )


def _end_with_parent() -> None:
    """Ends this process when the parent dies of anything: standard input is then closed."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
