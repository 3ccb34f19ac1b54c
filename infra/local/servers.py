"""The servers of one machine without containers: PostgreSQL, Ceph's S3 gateway, Prefect, MLflow, bridge and worker.

Everything listens on loopback only. Ports and secrets are chosen once per folder and kept in FOLDER/settings.json;
FOLDER/env holds what programs need to use the servers.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import ceph
import postgres
from processes import Process, answers, free_port, heed_interrupts, is_running, names, start, stop, wait

PROJECT = Path(__file__).resolve().parents[2]
POOL, GPU_POOL = "autocast-cpu", "autocast-gpu"
BUCKETS = ("mlflow", "models")
SERVERS = ("postgres", "ceph", "prefect", "mlflow", "bridge", "worker")
_CEPH = ("ceph-mon", "ceph-osd", "ceph-rgw")
_STOP_ORDER = ("worker", "bridge", "mlflow", "prefect", *reversed(_CEPH), "postgres")


@dataclass(frozen=True)
class Settings:
    """Ports of 127.0.0.1 and secrets, the same at every start in a folder."""

    ports: Mapping[str, int]
    database_password: str
    webhook_secret: str
    webhook_key: str
    s3_access_key: str
    s3_secret_key: str


def missing() -> tuple[str, ...]:
    """What is not installed here, each with the command that installs it."""
    lacks = []
    if postgres.programs() is None:
        lacks.append("PostgreSQL: run infra/local/packages")
    if any(shutil.which(name) is None for name in ceph.NEEDED):
        lacks.append("Ceph with radosgw: run infra/local/packages")
    if find_spec("psycopg2") is None:
        lacks.append("psycopg2: pip install psycopg2-binary")
    return tuple(lacks)


def up(folder: Path, servers: tuple[str, ...] = SERVERS) -> None:
    """Starts those of `servers` that do not run, waits until they are ready, writes FOLDER/env; all of them together
    get the flows deployed and the webhook registered."""
    heed_interrupts()
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(folder)
    _write_environment(folder, settings)
    # What the shell says about other servers must not reach ours.
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "MLFLOW_", "AWS_"))]:
        del os.environ[name]
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
        if storage is not None:
            storage.result()
    if set(servers) == set(SERVERS):
        deploy(folder)
        _call(folder, "autocast", "bridge", "register")


def down(folder: Path, servers: tuple[str, ...] = SERVERS) -> None:
    """Stops those of `servers` that run, whoever needs another one first; with all of them whatever else was started
    in the folder, as further workers."""
    if set(servers) == set(SERVERS):
        for name in set(names(folder)) - set(_STOP_ORDER):
            stop(folder, name)
    chosen = {part for name in servers for part in (_CEPH if name == "ceph" else (name,))}
    for name in _STOP_ORDER:
        if name in chosen:
            # PostgreSQL's "fast" shutdown closes open connections.
            stop(folder, name, signal.SIGINT if name == "postgres" else signal.SIGTERM)


def deploy(folder: Path) -> None:
    """Deploys the flows as infra/prefect.yaml says; before, once, makes the pool that has no worker here, and the
    automations."""
    marker = folder / "prefect" / "prepared"
    if not marker.exists():
        _call(folder, "prefect", "--no-prompt", "work-pool", "create", GPU_POOL, "--type", "process", "--overwrite")
        # Created again they would be there twice.
        _call(folder, "prefect", "--no-prompt", "automation", "create", "--from-file", "infra/automations.yaml")
        marker.touch()
    _call(folder, "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml")


def environment(folder: Path, settings: Settings | None = None) -> dict[str, str]:
    """The variables with which a program uses the servers of this folder."""
    settings = settings or _settings(folder)
    ports = settings.ports
    return {
        "PREFECT_API_URL": f"http://127.0.0.1:{ports['prefect']}/api",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{ports['mlflow']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['s3']}",
        "AWS_ACCESS_KEY_ID": settings.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key,
        "AWS_REGION": "us-east-1",
        "AUTOCAST_HOME": str(folder / "autocast"),
        "AUTOCAST_BRIDGE_URL": f"http://127.0.0.1:{ports['bridge']}/mlflow",
        "AUTOCAST_WEBHOOK_SECRET": settings.webhook_secret,
        "AUTOCAST_TAG_LOCATIONS": "s3://models/",
        "AUTOCAST_TAG_OPTIONS": "allow_random validation",
        "AUTOCAST_APPROVAL_ALIASES": "champion",
        "DO_NOT_TRACK": "1",
    }


def worker(folder: Path, name: str = "worker", pool: str = POOL) -> Process:
    """A process worker of the pool; a second one needs a name of its own."""
    variables = {**environment(folder), "PREFECT_WORKER_QUERY_SECONDS": "2"}
    address = f"http://127.0.0.1:{_settings(folder).ports['prefect']}/api/work_pools/{pool}"
    command = [_program("prefect"), "worker", "start", "--pool", pool, "--type", "process", "--name", name]
    return Process(name, [*command, "--limit", "4"], lambda: answers(address), variables)


def prefect_server(folder: Path, name: str = "prefect", port: int | None = None, **variables: str) -> Process:
    """Prefect's server; a second one, on the same database, needs a name and a port of its own."""
    settings = _settings(folder)
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
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url(
                "asyncpg", settings.ports["postgres"], settings.database_password, "prefect"
            ),
            # Schedules made by hand are looked at soon, not once a minute.
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
            "DO_NOT_TRACK": "1",
            **variables,
        },
    )


def mlflow_server(
    folder: Path, name: str = "mlflow", port: int | None = None, *options: str, **variables: str
) -> Process:
    """MLflow's server; a second one, on the same database and bucket, needs a name and a port of its own."""
    settings = _settings(folder)
    port = port or settings.ports["mlflow"]
    database = postgres.url("psycopg2", settings.ports["postgres"], settings.database_password, "mlflow")
    return Process(
        name,
        [
            *(_program("mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", database, "--artifacts-destination", "s3://mlflow/artifacts"),
            *("--allowed-hosts", "localhost:*,127.0.0.1:*", *options),
        ],
        lambda: answers(f"http://127.0.0.1:{port}/health"),
        {
            **{key: value for key, value in environment(folder, settings).items() if key.startswith("AWS_")},
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


def _settings(folder: Path) -> Settings:
    file = folder / "settings.json"
    if file.exists():
        return Settings(**json.loads(file.read_text(encoding="utf-8")))
    names = ("postgres", "s3", "ceph-mon", "ceph-mon-v1", "prefect", "mlflow", "bridge")
    ports: dict[str, int] = {}
    for name in names:
        ports[name] = next(port for port in iter(free_port, None) if port not in ports.values())
    settings = Settings(
        ports,
        database_password=secrets.token_hex(16),
        webhook_secret=secrets.token_urlsafe(32),
        # Without one, MLflow makes up a key per process and cannot read its webhooks after a restart.
        webhook_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_hex(20),
    )
    _write_privately(file, json.dumps(asdict(settings), indent=2))
    return settings


def _write_environment(folder: Path, settings: Settings) -> None:
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in environment(folder, settings).items()]
    _write_privately(folder / "env", "".join(lines))


def _write_privately(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")


def _postgres(folder: Path, settings: Settings) -> Process:
    return postgres.server(folder, settings.ports["postgres"], settings.database_password)


def _start_ceph(folder: Path, settings: Settings) -> None:
    if not all(is_running(folder, name) for name in _CEPH):
        for name in _CEPH:
            stop(folder, name)
    for process in ceph.processes(folder, dict(settings.ports), settings.s3_access_key, settings.s3_secret_key):
        _run(folder, process)
    import boto3

    used = environment(folder, settings)
    client = boto3.client(
        "s3",
        endpoint_url=used["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key,
        region_name="us-east-1",
    )
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for bucket in BUCKETS:
        if bucket not in there:
            client.create_bucket(Bucket=bucket)


def _processes(folder: Path, settings: Settings) -> Iterator[Process]:
    ports, used = settings.ports, environment(folder, settings)
    yield prefect_server(folder)
    yield mlflow_server(folder)
    yield Process(
        "bridge",
        [_program("autocast"), "bridge", "serve", "--host", "127.0.0.1", "--port", str(ports["bridge"])],
        lambda: answers(f"http://127.0.0.1:{ports['bridge']}/healthz"),
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
        cwd=PROJECT,
        env={**os.environ, **environment(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{program} {' '.join(arguments)}: {(done.stdout + done.stderr).strip()[-3000:]}")
