"""The servers of one machine without containers: Prefect, MLflow, bridge and worker; PostgreSQL and Ceph's S3 gateway.

Everything listens on loopback only. Ports and secrets are chosen once per folder and kept in FOLDER/settings.json;
FOLDER/env holds what programs need to use the servers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from autocast_core.errors import ConfigError, OutputError, ServiceError
from autocast_core.process.file_lock import exclusive_lock
from autocast_core.text import one_line
from flows.local_stack import ceph, postgres
from flows.local_stack.deployment_files import deployment_file
from flows.local_stack.processes import (
    Process,
    accepts,
    answers,
    heed_interrupts,
    is_running,
    log_of,
    names,
    start,
    stop,
    wait,
)
from flows.local_stack.stack_settings import (
    StackSettings,
    StackStorage,
    environment,
    known_settings,
    object_store_environment,
    settings_of,
    write_environment,
)

POOL, GPU_POOL = "autocast-cpu", "autocast-gpu"
BUCKETS = ("mlflow", "models")
SERVERS = ("postgres", "ceph", "prefect", "mlflow", "bridge", "worker")
WITHOUT_STORAGE = ("prefect", "mlflow", "bridge", "worker")
_LOCK = "stack.lock"
_CEPH = ("ceph-mon", "ceph-osd", "ceph-rgw")
_STOP_ORDER = ("worker", "bridge", "mlflow", "prefect", *reversed(_CEPH), "postgres")


@dataclass(frozen=True)
class ServerStatus:
    """One server now. `state` is ``ready``, ``not answering`` (its process lives) or ``stopped``; `address` is None for
    what has none."""

    name: str
    state: str
    address: str | None
    log: Path

    def to_json(self) -> dict[str, str | None]:
        """The fields by their names."""
        return {"name": self.name, "state": self.state, "address": self.address, "log": str(self.log)}


def missing(storage: StackStorage = StackStorage.SERVERS) -> tuple[str, ...]:
    """What is not installed here, each with the command that installs it."""
    if storage is StackStorage.FILES:
        return ()
    lacks = []
    if postgres.programs() is None:
        lacks.append("PostgreSQL: run infra/local/packages")
    if any(shutil.which(name) is None for name in ceph.NEEDED):
        lacks.append("Ceph with radosgw: run infra/local/packages")
    if find_spec("psycopg2") is None:
        lacks.append("psycopg2: pip install psycopg2-binary")
    return tuple(lacks)


def servers_of(storage: StackStorage) -> tuple[str, ...]:
    """The servers of a stack with this storage."""
    return SERVERS if storage is StackStorage.SERVERS else WITHOUT_STORAGE


def up(
    folder: Path,
    servers: tuple[str, ...] = (),
    storage: StackStorage = StackStorage.SERVERS,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Starts those of `servers` (none: all of the storage's) that do not run, waits until they are ready, writes
    FOLDER/env; all of them together get the flows deployed and the webhook registered. `tell` receives a line a step.

    ConfigError where the folder has another storage or something is not installed, OutputError where it cannot be
    written, ServiceError where a server does not start.
    """
    heed_interrupts()
    if not Path("/proc/self/stat").exists():
        raise ConfigError("servers are started so on Linux only: use infra/compose.yaml")
    if lacks := missing(storage):
        raise ConfigError("not installed: " + "; ".join(lacks))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); give another folder") from error
    with exclusive_lock(folder / _LOCK):
        settings = settings_of(folder, storage)
        if settings.storage is not storage:
            raise ConfigError(f"{folder} keeps its data in {settings.storage}: give another folder for {storage}")
        write_environment(folder, settings)
        _up(folder, settings, servers or servers_of(storage), tell)


def _up(folder: Path, settings: StackSettings, servers: tuple[str, ...], tell: Callable[[str], None]) -> None:
    # What the shell and the user's settings say about other servers must not reach ours.
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "AWS_"))]:
        del os.environ[name]
    os.environ["AUTOCAST_SETTINGS"] = ""
    tell(f"starting {', '.join(servers)} ...")
    with ThreadPoolExecutor() as pool:
        storage = pool.submit(_start_ceph, folder, settings) if "ceph" in servers else None
        if "postgres" in servers:
            _run(folder, _postgres(folder, settings))
            for database in ("prefect", "mlflow"):
                postgres.make_database(settings.ports["postgres"], settings.database_password, database)
        others = [process for process in _processes(folder, settings) if process.name in servers]
        for process in others:
            start(folder, process)
        for process in others:
            wait(folder, process)
            tell(f"{process.name}: ready")
        if storage is not None:
            storage.result()
    if set(servers) == set(servers_of(settings.storage)):
        tell("deploying the flows and registering the webhook ...")
        deploy(folder)
        _call(folder, "autocast", "bridge", "register")


def down(folder: Path, servers: tuple[str, ...] = SERVERS) -> tuple[str, ...]:
    """Stops those of `servers` that run, whoever needs another one first; with all of them whatever else was started
    in the folder, as further workers. Returns the names of the processes that ran."""
    ran = tuple(name for name in names(folder) if is_running(folder, name))
    others = sorted(set(names(folder)) - set(_STOP_ORDER)) if set(servers) == set(SERVERS) else []
    chosen = {part for name in servers for part in (_CEPH if name == "ceph" else (name,))}
    for name in (*others, *(name for name in _STOP_ORDER if name in chosen)):
        # PostgreSQL's "fast" shutdown closes open connections.
        stop(folder, name, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    return tuple(name for name in ran if not is_running(folder, name))


def status(folder: Path) -> tuple[ServerStatus, ...]:
    """How the servers of the folder are; none where nothing was ever started there."""
    settings = known_settings(folder)
    if settings is None:
        return ()
    ready: dict[str, Callable[[], bool]] = {}
    if settings.storage is StackStorage.SERVERS:
        ready["postgres"] = lambda: accepts(settings.ports["postgres"])
        ready["ceph-rgw"] = lambda: answers(settings.address("s3"))
    ready |= {process.name: process.is_ready for process in _processes(folder, settings)}
    return tuple(_status(folder, settings, name, is_ready) for name, is_ready in ready.items())


def _status(folder: Path, settings: StackSettings, name: str, is_ready: Callable[[], bool]) -> ServerStatus:
    state = "stopped"
    if is_running(folder, name):
        state = "ready" if is_ready() else "not answering"
    port = {"ceph-rgw": "s3"}.get(name, name)
    address = settings.address(port) if port in settings.ports else None
    return ServerStatus(name, state, address, log_of(folder, name))


def deploy(folder: Path) -> None:
    """Deploys the flows as infra/prefect.yaml says; before, once, makes the pool that has no worker here, and the
    automations."""
    marker = folder / "prefect" / "prepared"
    if not marker.exists():
        automations = str(deployment_file("automations.yaml"))
        _call(folder, "prefect", "--no-prompt", "work-pool", "create", GPU_POOL, "--type", "process", "--overwrite")
        # Created again they would be there twice.
        _call(folder, "prefect", "--no-prompt", "automation", "create", "--from-file", automations)
        marker.touch()
    deployments = str(deployment_file("prefect.yaml"))
    _call(folder, "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", deployments)


def worker(folder: Path, name: str = "worker", pool: str = POOL) -> Process:
    """A process worker of the pool; a second one needs a name of its own."""
    settings = settings_of(folder)
    variables = {**environment(folder, settings), "PREFECT_WORKER_QUERY_SECONDS": "2"}
    address = f"{settings.address('prefect')}/api/work_pools/{pool}"
    command = [_program("prefect"), "worker", "start", "--pool", pool, "--type", "process", "--name", name]
    return Process(name, [*command, "--limit", "4"], lambda: answers(address, settings.prefect_auth), variables)


def prefect_server(folder: Path, name: str = "prefect", port: int | None = None, **variables: str) -> Process:
    """Prefect's server; a second one, on the same database, needs a name and a port of its own."""
    settings = settings_of(folder)
    port = port or settings.ports["prefect"]
    address = f"http://127.0.0.1:{port}/api"
    return Process(
        name,
        [_program("prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        lambda: answers(f"{address}/health"),
        {
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": address,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": _database(folder, settings, "prefect", "asyncpg", "aiosqlite"),
            # Schedules made by hand are looked at soon, not once a minute.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            "DO_NOT_TRACK": "1",
            **({"PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth} if settings.prefect_auth else {}),
            **variables,
        },
    )


def mlflow_server(
    folder: Path, name: str = "mlflow", port: int | None = None, *options: str, **variables: str
) -> Process:
    """MLflow's server; a second one, on the same database and bucket, needs a name and a port of its own."""
    settings = settings_of(folder)
    port = port or settings.ports["mlflow"]
    database = _database(folder, settings, "mlflow", "psycopg2", "pysqlite")
    artifacts = "s3://mlflow/artifacts" if settings.storage is StackStorage.SERVERS else str(folder / "artifacts")
    return Process(
        name,
        [
            *(_program("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", database, "--artifacts-destination", artifacts),
            *("--allowed-hosts", "localhost:*,127.0.0.1:*", *options),
        ],
        lambda: answers(f"http://127.0.0.1:{port}/health"),
        {
            **object_store_environment(settings),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": settings.webhook_key,
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "1",
            # Waits of 0, 2, 4, 8, 16 and 32 s: a restart of the bridge loses nothing.
            "MLFLOW_WEBHOOK_REQUEST_MAX_RETRIES": "6",
            **variables,
        },
    )


def _database(folder: Path, settings: StackSettings, name: str, postgres_driver: str, sqlite_driver: str) -> str:
    if settings.storage is StackStorage.FILES:
        return f"sqlite+{sqlite_driver}:///{folder / name}.db"
    return postgres.url(postgres_driver, settings.ports["postgres"], settings.database_password, name)


def _postgres(folder: Path, settings: StackSettings) -> Process:
    return postgres.server(folder, settings.ports["postgres"], settings.database_password)


def _start_ceph(folder: Path, settings: StackSettings) -> None:
    if not all(is_running(folder, name) for name in _CEPH):
        for name in _CEPH:
            stop(folder, name)
    for process in ceph.processes(folder, dict(settings.ports), settings.s3_access_key, settings.s3_secret_key):
        _run(folder, process)
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=settings.address("s3"),
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name="us-east-1",
    )
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in BUCKETS:
        if bucket not in there:
            client.create_bucket(Bucket=bucket)


def _processes(folder: Path, settings: StackSettings) -> Iterator[Process]:
    ports, used = settings.ports, environment(folder, settings)
    yield prefect_server(folder)
    yield mlflow_server(folder)
    yield Process(
        "bridge",
        [_program("autocast"), "bridge", "serve", "--host", "127.0.0.1", "--port", str(ports["bridge"])],
        lambda: answers(f"{settings.address('bridge')}/healthz"),
        used,
    )
    yield worker(folder)


def _run(folder: Path, process: Process) -> None:
    start(folder, process)
    wait(folder, process)


def _program(name: str) -> str:
    """A program of the environment that runs this."""
    return str(Path(sys.executable).parent / name)


def _call(folder: Path, program: str, *arguments: str) -> None:
    done = subprocess.run(
        [_program(program), *arguments],
        cwd=folder,
        env={**os.environ, **environment(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = one_line((done.stdout + done.stderr).strip()[-1000:])
        raise ServiceError(f"{program} {' '.join(arguments)} failed: {said}")
