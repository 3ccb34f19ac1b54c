"""PostgreSQL from Debian's packages, in a folder, on loopback, as an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from autocast_core.errors import ServiceError
from flows.local_stack.processes import Process, accepts

USER = "autocast"
NEEDED = ("initdb", "postgres", "createdb", "pg_isready")


def programs() -> Path | None:
    """The folder with the newest PostgreSQL's programs, which Debian does not put on PATH; None: not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def server(folder: Path, port: int, password: str) -> Process:
    """The server, its database cluster made where there is none. ServiceError where `folder` is closed to its user."""
    where = programs()
    assert where is not None
    data = folder / "postgres"
    user = _user()
    if not (data / "PG_VERSION").exists():
        _make_cluster(where, data, password, user)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "300",
        # The data of these servers may be lost with the machine.
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    options = [item for name, value in settings.items() for item in ("-c", f"{name}={value}")]
    return Process(
        "postgres",
        [str(where / "postgres"), "-D", str(data), *options],
        is_ready=lambda: _is_ready(where, port),
        user=user,
    )


def make_database(port: int, password: str, name: str) -> None:
    """Makes the database where it does not exist."""
    where = programs()
    assert where is not None
    done = subprocess.run(
        [str(where / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", USER, name],
        env={**os.environ, "PGPASSWORD": password},
        capture_output=True,
        text=True,
    )
    if done.returncode and "already exists" not in done.stderr:
        raise ServiceError(f"database {name} cannot be made: {done.stderr.strip()}")


def url(driver: str, port: int, password: str, database: str) -> str:
    """The address of a database for SQLAlchemy, with the driver named: versions differ in which one is the default."""
    return f"postgresql+{driver}://{USER}:{password}@127.0.0.1:{port}/{database}"


def _user() -> str | None:
    """PostgreSQL refuses to run as root; its package makes this user."""
    return "postgres" if os.geteuid() == 0 else None


def _make_cluster(where: Path, data: Path, password: str, user: str | None) -> None:
    data.mkdir(mode=0o700, exist_ok=True)
    key = data.parent / "postgres.password"
    key.touch(mode=0o600)
    key.write_text(password, encoding="utf-8")
    identity: dict[str, Any] = {}
    if user:
        account = pwd.getpwnam(user)
        for path in (data, key):
            os.chown(path, account.pw_uid, account.pw_gid)
        identity = {"user": user, "group": user, "extra_groups": []}
    command = ["initdb", "-D", str(data), "-U", USER, "-A", "scram-sha-256", "--pwfile", str(key), "-N", "-E", "UTF8"]
    done = subprocess.run([str(where / command[0]), *command[1:]], cwd="/", capture_output=True, text=True, **identity)
    if done.returncode:
        raise ServiceError(f"initdb: {done.stderr.strip()}; user {user or 'this'} must be able to enter {data.parent}")


def _is_ready(where: Path, port: int) -> bool:
    if not accepts(port):
        return False
    return subprocess.run([str(where / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0
