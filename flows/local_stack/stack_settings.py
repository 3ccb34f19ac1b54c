"""Ports, secrets and kinds of storage of the servers of one folder, and the variables with which programs use them."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from autocast_core.errors import ConfigError
from flows.local.embedded_server import free_port
from flows.local_stack.postgres import USER

_FILE, _ENVIRONMENT = "settings.json", "env"
_PORTS = ("postgres", "s3", "ceph-mon", "ceph-mon-v1", "prefect", "mlflow", "bridge")


class StackStorage(StrEnum):
    """What the servers keep their data in."""

    FILES = "files"
    """SQLite and a folder: nothing has to be installed, and there is no S3."""
    SERVERS = "servers"
    """PostgreSQL and Ceph's S3 gateway."""


@dataclass(frozen=True)
class StackSettings:
    """Ports of 127.0.0.1 and secrets, the same at every start in a folder."""

    ports: Mapping[str, int]
    database_password: str
    webhook_secret: str
    webhook_key: str
    s3_access_key: str
    s3_secret_key: str
    storage: StackStorage = StackStorage.SERVERS
    prefect_auth: str = ""
    """USER:PASSWORD that Prefect's API asks for: whoever may use it runs code as who started it. Empty: none."""

    def address(self, server: str) -> str:
        """Where the server of this name listens."""
        return f"http://127.0.0.1:{self.ports[server]}"


def known_settings(folder: Path) -> StackSettings | None:
    """The settings that an earlier start chose in this folder; None: there was none. ConfigError where they cannot be
    read."""
    file = folder / _FILE
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return StackSettings(**{**found, "storage": StackStorage(found.get("storage", StackStorage.SERVERS))})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}): remove it, or give another folder") from error


def settings_of(folder: Path, storage: StackStorage = StackStorage.SERVERS) -> StackSettings:
    """The settings of the folder, chosen now where there are none; `storage` is taken only then."""
    known = known_settings(folder)
    if known is not None:
        return known
    ports: dict[str, int] = {}
    for name in _PORTS:
        ports[name] = next(port for port in iter(free_port, None) if port not in ports.values())
    settings = StackSettings(
        ports,
        database_password=secrets.token_hex(16),
        webhook_secret=secrets.token_urlsafe(32),
        # Without one, MLflow makes up a key per process and cannot read its webhooks after a restart.
        webhook_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_hex(20),
        storage=storage,
        prefect_auth=f"autocast:{secrets.token_urlsafe(24)}" if storage is StackStorage.FILES else "",
    )
    _write_privately(folder / _FILE, json.dumps(asdict(settings), indent=2))
    return settings


def environment(folder: Path, settings: StackSettings | None = None) -> dict[str, str]:
    """The variables with which a program uses the servers of this folder."""
    settings = settings or settings_of(folder)
    used = {
        **client_environment(settings),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AUTOCAST_HOME": str(folder / "autocast"),
        "AUTOCAST_BRIDGE_URL": f"{settings.address('bridge')}/mlflow",
        "AUTOCAST_WEBHOOK_SECRET": settings.webhook_secret,
        "AUTOCAST_TAG_OPTIONS": "allow_random validation",
        "AUTOCAST_APPROVAL_ALIASES": "champion",
        "DO_NOT_TRACK": "1",
    }
    return used | object_store_environment(settings)


def client_environment(settings: StackSettings) -> dict[str, str]:
    """The variables with which commands use the servers, without those of the servers themselves."""
    store = object_store_environment(settings)
    return {
        "PREFECT_API_URL": f"{settings.address('prefect')}/api",
        **({"PREFECT_API_AUTH_STRING": settings.prefect_auth} if settings.prefect_auth else {}),
        "MLFLOW_TRACKING_URI": settings.address("mlflow"),
        **{name: value for name, value in store.items() if name.startswith("AWS_")},
    }


def object_store_environment(settings: StackSettings) -> dict[str, str]:
    """The variables with which a program uses the S3 server; none where there is no such server."""
    if settings.storage is StackStorage.FILES:
        return {}
    return {
        "AWS_ENDPOINT_URL_S3": settings.address("s3"),
        "AWS_ACCESS_KEY_ID": settings.s3_access_key,
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key,
        "AWS_REGION": "us-east-1",
        "AUTOCAST_TAG_LOCATIONS": "s3://models/",
    }


def _database_environment(settings: StackSettings) -> dict[str, str]:
    if settings.storage is StackStorage.FILES:
        return {}
    port, password = str(settings.ports["postgres"]), settings.database_password
    return {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": USER, "PGPASSWORD": password}


def write_environment(folder: Path, settings: StackSettings) -> Path:
    """Writes FOLDER/env, for `set -a; . FOLDER/env`: beside `environment` what PostgreSQL's own programs take, for
    backups, which no worker gets."""
    file = folder / _ENVIRONMENT
    variables = environment(folder, settings) | _database_environment(settings)
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    _write_privately(file, "".join(lines))
    return file


def environment_file(folder: Path) -> Path:
    """Where `write_environment` writes."""
    return folder / _ENVIRONMENT


def _write_privately(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
