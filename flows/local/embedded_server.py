"""Prefect's server for runs on a machine without one: started by the command that needs it, found by those that follow.

Prefect can start such a server by itself, but only after its client was imported, in at most 20 seconds by default,
with its messages on the terminal, and anew for every command. Started here, it comes up while this process imports
MLflow, writes to a file, and serves the next commands too, until none has used it for a while.

Everything lies in one folder: `USERS` is locked by who uses the server (shared), `ALIVE` by the server as long as it
lives, `NOTE` says its port, its process and its password. A server that was started with other settings of Prefect is
another server, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

from autocast_core.errors import ConfigError, ServiceError
from autocast_core.process.child import module_command, with_package_path
from autocast_core.process.file_lock import exclusive_lock, lock, lock_shared, try_lock
from autocast_core.process.memory_limits import require_limits
from autocast_core.version import VERSION
from flows.local.own_files import create_own_file, open_own_file
from flows.local.server_process import NOTE, USERS
from tasks.prefect_settings import own_files_only

START_LIMIT_SECONDS = 180.0
IDLE_SECONDS = "AUTOCAST_SERVER_IDLE_SECONDS"
"""The variable that says for how long a server waits for the next command."""
DEFAULT_IDLE_SECONDS = 300.0
ALIVE = "alive.lock"
_STARTING = "starting.lock"
_LOG = "server.log"
_END_SECONDS = 10.0
_SERVER_BYTES = 400 << 20
"""What a server takes of memory of its own; it inherits the limits of the process that starts it."""
_CLIENT = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")
_OTHERS = ("AWS_", "MLFLOW_", "AUTOCAST_")
"""How variables begin that the server has no use for, credentials among them."""


@dataclass(frozen=True)
class EmbeddedServer:
    """A server that may still be starting; `wait` returns once it answers. `password` is for its API's basic
    authentication, as PREFECT_API_AUTH_STRING takes it."""

    folder: Path
    process: int
    port: int
    password: str

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def settings(self) -> dict[str, str]:
        """The variables with which Prefect's client uses this server."""
        return dict(zip(_CLIENT, (self.api_url, self.password), strict=True))

    def wait(self, limit_seconds: float = START_LIMIT_SECONDS) -> None:
        """Returns when the server is healthy. ServiceError when it ends, or is not healthy within the limit."""
        deadline = time.monotonic() + limit_seconds
        log = self.folder / _LOG
        while time.monotonic() < deadline:
            if self.answers():
                return
            if not _is_alive(self.folder):
                raise ServiceError(f"Prefect's embedded server ended during its start; {log} says why")
            time.sleep(0.1)
        raise ServiceError(
            f"Prefect's embedded server did not answer within {limit_seconds:.0f} s; see {log},"
            " or set PREFECT_API_URL to a running server"
        )

    def answers(self) -> bool:
        """Whether it answers now, within 5 seconds."""
        try:
            with urllib.request.urlopen(f"{self.api_url}/health", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def embedded_server(folder: Path, idle_seconds: float = DEFAULT_IDLE_SECONDS) -> Iterator[EmbeddedServer]:
    """The server of `folder` for this environment, started where there is none; it may still be starting.

    After the context is left, and whatever this process dies of, it ends once nobody has used it for `idle_seconds`;
    with 0 it has ended when the context is left, unless others use it. OSError where the folder cannot be written,
    InputError where a limit of this process leaves a server too little memory.
    """
    own = folder.absolute() / _key(os.environ)
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(own / USERS, "ab") as users:
        lock_shared(users)
        with exclusive_lock(own / _STARTING):
            server = running_server(own) or _started(own, idle_seconds)
        try:
            yield server
        finally:
            if not idle_seconds and try_lock(users):
                _end(server)


def idle_seconds_of(environment: Mapping[str, str]) -> float:
    """What IDLE_SECONDS says, else the default. ConfigError where it is not a number of seconds."""
    text = environment.get(IDLE_SECONDS, "")
    try:
        seconds = float(text) if text else DEFAULT_IDLE_SECONDS
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise ConfigError(f"{IDLE_SECONDS}={text}: give a number of seconds, 0 to keep no server between commands")
    return seconds


def stop_servers(folder: Path) -> int:
    """Ends the servers of `folder`, also while they are used; how many there were."""
    running = running_servers(folder)
    for server in running:
        _end(server)
    return len(running)


def running_servers(folder: Path) -> tuple[EmbeddedServer, ...]:
    """The servers of `folder` whose processes live."""
    return tuple(server for own in sorted(folder.absolute().glob("*/")) if (server := running_server(own)) is not None)


def running_server(own: Path) -> EmbeddedServer | None:
    """The server of the folder `own`, where it lives."""
    if not _is_alive(own):
        return None
    try:
        with open_own_file(own / NOTE) as file:
            note = json.load(file)
        return EmbeddedServer(own, int(note["process"]), int(note["port"]), str(note["password"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def free_port() -> int:
    """A port on the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _key(environment: Mapping[str, str]) -> str:
    """Tells servers apart that must not stand for one another: of other machines, versions and settings."""
    settings = {key: value for key, value in environment.items() if key.startswith("PREFECT_") and key not in _CLIENT}
    told = json.dumps([socket.gethostname(), VERSION, metadata.version("prefect"), settings], sort_keys=True)
    return sha256(told.encode()).hexdigest()[:16]


def _started(own: Path, idle_seconds: float) -> EmbeddedServer:
    require_limits(_SERVER_BYTES, "Prefect's server")
    port, password = free_port(), f"autocast:{secrets.token_urlsafe(24)}"
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(_OTHERS)},
        **own_files_only(),
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_API_AUTH_STRING": password,
    }
    with open(own / ALIVE, "ab") as alive, open(own / _LOG, "ab") as log:
        lock(alive)
        process = subprocess.Popen(
            module_command("flows.local.server_process", str(port), str(own), str(idle_seconds)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=own,
            env=with_package_path(environment),
            # The lock belongs to the open file, which is the server's from now on.
            pass_fds=(alive.fileno(),),
            # An interrupt from the terminal must not take the server from a flow that still reports its end.
            start_new_session=True,
        )
    server = EmbeddedServer(own, process.pid, port, password)
    _write_note(server)
    return server


def _write_note(server: EmbeddedServer) -> None:
    path = server.folder / NOTE
    path.unlink(missing_ok=True)
    with create_own_file(path) as file:
        json.dump({key: value for key, value in asdict(server).items() if key != "folder"}, file)


def _is_alive(own: Path) -> bool:
    try:
        with open(own / ALIVE, "rb") as alive:
            return not try_lock(alive)
    except OSError:
        return False


def _end(server: EmbeddedServer) -> None:
    """Ends the server and waits for it; one that does not end in time is killed."""
    for number, seconds in ((signal.SIGTERM, _END_SECONDS), (signal.SIGKILL, 1.0)):
        if not _is_alive(server.folder):
            break
        os.kill(server.process, number)
        deadline = time.monotonic() + seconds
        while _is_alive(server.folder) and time.monotonic() < deadline:
            time.sleep(0.05)
    (server.folder / NOTE).unlink(missing_ok=True)
