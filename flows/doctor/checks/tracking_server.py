"""MLflow's server or database, and where it keeps artifacts."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from autocast_core.errors import AutocastError
from autocast_core.text import one_line
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, warning, well
from flows.doctor.checks.object_store import bucket
from flows.doctor.http_server import REFUSALS, HttpServer, is_http, says_yes
from tasks.storage.uri import without_credentials
from tasks.tracking.store import EXPERIMENT, sqlite_file

_NAME, _ARTIFACTS = "MLflow", "artifact store"
URI = "MLFLOW_TRACKING_URI"
API = "api/2.0/mlflow"
_CREDENTIALS = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"


def tracking_server(around: Surroundings) -> Results:
    """Whether the tracking server answers, takes the credentials and has a version that fits, or the database opens."""
    uri = _uri(around)
    if is_http(uri):
        return (_server_state(asked_server(around, uri)),)
    database = sqlite_file(uri)
    if database is not None:
        return (_database_state(database),)
    return (well(_NAME, f"{without_credentials(uri)}: such a store is not checked"),)


def artifact_store(around: Surroundings) -> Results:
    """Whether artifacts can be reached where the experiment keeps them."""
    uri = _uri(around)
    if not is_http(uri):
        return ()
    server = asked_server(around, uri)
    try:
        location = _location(server, around.environment.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
        if location is None:
            return (warning(_ARTIFACTS, "not known, as the tracking server does not say", f"see {_NAME}"),)
        scheme = urlsplit(location).scheme
        if scheme == "mlflow-artifacts":
            return (_served(server, location),)
        if scheme == "s3":
            return (bucket(_ARTIFACTS, location, around.timeout),)
    except AutocastError as error:
        return (problem_of(_ARTIFACTS, error),)
    if scheme in ("", "file"):
        return (_local(location),)
    return (well(_ARTIFACTS, f"{without_credentials(location)}: such a store is not checked"),)


def _uri(around: Surroundings) -> str:
    return around.environment.get(URI) or f"sqlite:///{around.home.root / 'mlflow.db'}"


def asked_server(around: Surroundings, uri: str) -> HttpServer:
    """MLflow's server at `uri`, with the credentials of the environment."""
    known = around.environment
    user = known.get("MLFLOW_TRACKING_USERNAME")
    return HttpServer(
        uri,
        around.timeout,
        (user, known.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None,
        None if user else known.get("MLFLOW_TRACKING_TOKEN"),
        known.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or known.get("REQUESTS_CA_BUNDLE"),
        says_yes(known, "MLFLOW_TRACKING_INSECURE_TLS"),
    )


def _server_state(server: HttpServer) -> CheckResult:
    from packaging.version import InvalidVersion, Version

    try:
        answer = server.ask("POST", f"{API}/experiments/search", json={"max_results": 1})
        told = server.ask("GET", "version").body[:50].decode(errors="replace").strip()
    except AutocastError as error:
        return problem_of(_NAME, error, f"check {URI}, and that the server runs")
    if answer.status in REFUSALS:
        return problem(_NAME, f"{server} rejects the credentials ({answer.status})", _CREDENTIALS)
    if answer.status >= 500:
        return problem(_NAME, f"{server} answers {answer.status}", "the server's log says why, or its database's")
    if answer.status != 200 or not isinstance(answer.json, dict):
        what = f"{server} answers {answer.status}, and not as MLflow does"
        return problem(_NAME, what, f"check {URI}: the address of the server, without a path that it does not have")
    ours = Version(metadata.version("mlflow"))
    try:
        theirs = Version(told)
    except InvalidVersion:
        return well(_NAME, f"{server} takes the credentials")
    remedy = f"upgrade the server to {ours} or newer"
    if theirs.major < ours.major:
        return problem(_NAME, f"{server} has version {theirs}, too old for {ours} here", remedy)
    if theirs < ours:
        return warning(_NAME, f"{server} has version {theirs}, older than {ours} here", remedy)
    return well(_NAME, f"{server}, version {theirs}")


def _database_state(path: Path) -> CheckResult:
    if not path.exists():
        return well(_NAME, f"{path}: made by the first run")
    if not os.access(path, os.W_OK):
        return problem(_NAME, f"{path} cannot be written", f"change its owner, or set {URI}")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=1.0)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        remedy = f"end the process that holds it, or set {URI}"
        return problem(_NAME, f"{path} cannot be read ({one_line(error)})", remedy)
    except sqlite3.DatabaseError as error:
        remedy = f"restore it from a backup or move it away, or set {URI}"
        return problem(_NAME, f"{path} is no database of MLflow's ({one_line(error)})", remedy)
    return well(_NAME, str(path))


def _location(server: HttpServer, experiment: str) -> str | None:
    """Where the experiment keeps artifacts, or would, were it made now; None where the server does not say."""
    asked: tuple[tuple[str, dict[str, str]], ...] = (
        ("get-by-name", {"experiment_name": experiment}),
        ("get", {"experiment_id": "0"}),
    )
    for path, parameters in asked:
        answer = server.ask("GET", f"{API}/experiments/{path}", params=parameters)
        if answer.status != 404:
            break
    content = answer.json if answer.status == 200 else None
    found = content.get("experiment") if isinstance(content, dict) else None
    location = found.get("artifact_location") if isinstance(found, dict) else None
    return location if isinstance(location, str) else None


def _served(server: HttpServer, location: str) -> CheckResult:
    """Of a server that keeps artifacts for its clients: whether it can."""
    path = urlsplit(location).path.strip("/")
    status = server.ask("GET", "api/2.0/mlflow-artifacts/artifacts", params={"path": path}).status
    if status in REFUSALS:
        return problem(_ARTIFACTS, f"{server} rejects the credentials ({status})", _CREDENTIALS)
    if status in (200, 404):
        return well(_ARTIFACTS, f"{location}, served by MLflow")
    remedy = "on the server, check --serve-artifacts, --artifacts-destination and the credentials for it"
    return problem(_ARTIFACTS, f"{location}: MLflow answers {status} for its artifacts", remedy)


def _local(location: str) -> CheckResult:
    """Of a server that leaves artifacts to its clients, in a folder: whether this machine has it."""
    folder = Path(unquote(urlsplit(location).path))
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    if os.access(existing, os.W_OK) and existing != Path(existing.anchor):
        return well(_ARTIFACTS, f"{folder}, a folder of this machine")
    remedy = "start the server with --serve-artifacts and an s3:// --artifacts-destination"
    return problem(_ARTIFACTS, f"{folder} is a folder of the server's, which this machine cannot write", remedy)
