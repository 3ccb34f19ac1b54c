"""Prefect's server, and the deployment that validates on a GPU."""

from __future__ import annotations

from importlib import metadata
from urllib.parse import quote, urlsplit

from autocast_core.errors import AutocastError, ConfigError
from flows.conversion.gpu_pool_settings import DEPLOYMENT, STAGING, gpu_pool
from flows.doctor.check_result import CheckResult, Results, Surroundings, problem, problem_of, warning, well
from flows.doctor.http_server import REFUSALS, HttpServer, is_http, says_yes

_NAME, _POOL = "Prefect", "GPU pool"
URL = "PREFECT_API_URL"
_CREDENTIALS = "check PREFECT_API_AUTH_STRING, USER:PASSWORD of a self-hosted server, or PREFECT_API_KEY"


def prefect_server(around: Surroundings) -> Results:
    """Whether PREFECT_API_URL answers as Prefect's API, takes the credentials, and has a version that fits."""
    url = around.environment.get(URL)
    if not url:
        return (well(_NAME, f"{URL} is not set: commands start a server and keep it for one another"),)
    if not is_http(url):
        return (problem(_NAME, f"{URL} is not an http(s) address", "write it as http://HOST:4200/api"),)
    server = asked_server(around, url)
    cloud = (urlsplit(url).hostname or "").endswith(".prefect.cloud")
    try:
        answer = server.ask("POST", "flows/count", json={}) if cloud else server.ask("GET", "admin/version")
    except AutocastError as error:
        return (problem_of(_NAME, error, f"check {URL}, and that the server runs"),)
    if answer.status in REFUSALS:
        return (problem(_NAME, f"{server} rejects the credentials ({answer.status})", _CREDENTIALS),)
    if answer.status >= 500:
        return (problem(_NAME, f"{server} answers {answer.status}", "the server's log says why"),)
    told = answer.json
    if cloud and answer.status == 200 and isinstance(told, int):
        return (well(_NAME, f"{server} takes the credentials"),)
    if answer.status != 200 or not isinstance(told, str):
        what = f"{server} answers {answer.status}, and not as Prefect's API does"
        return (problem(_NAME, what, f"check {URL}: it ends in /api"),)
    return (_version(server, told),)


def _version(server: HttpServer, told: str) -> CheckResult:
    from packaging.version import InvalidVersion, Version

    ours = Version(metadata.version("prefect"))
    try:
        theirs = Version(told)
    except InvalidVersion:
        return problem(_NAME, f"{server} says no version of Prefect", f"check {URL}: it ends in /api")
    remedy = f"upgrade the server to {ours} or newer"
    if theirs.major != ours.major:
        return problem(_NAME, f"{server} has version {theirs}, which does not fit {ours} here", remedy)
    if theirs < ours:
        return warning(_NAME, f"{server} has version {theirs}, older than {ours} here", remedy)
    return well(_NAME, f"{server}, version {theirs}")


def gpu_pool_deployment(around: Surroundings) -> Results:
    """Whether the deployment that AUTOCAST_GPU_DEPLOYMENT names is there, and has a place to read models from."""
    try:
        pool = gpu_pool(around.environment)
    except ConfigError:
        return ()  # `variables` says so.
    if pool is None:
        return (well(_POOL, f"{DEPLOYMENT} is not set: models are validated where they are converted"),)
    url = around.environment.get(URL, "")
    flow, slash, deployment = pool.deployment.partition("/")
    if not slash:
        return (problem(_POOL, f"{DEPLOYMENT} is {pool.deployment!r}", "write it as FLOW/DEPLOYMENT"),)
    if pool.staging is None:
        remedy = f"set {STAGING} to an s3:// prefix that GPU workers can read"
        return (problem(_POOL, f"{STAGING} is not set", remedy),)
    if not is_http(url):
        return (problem(_POOL, f"{pool.deployment} cannot be asked for", f"set {URL} to the server that has it"),)
    try:
        path = f"deployments/name/{quote(flow, safe='')}/{quote(deployment, safe='')}"
        status = asked_server(around, url).ask("GET", path).status
    except AutocastError:
        status = 0
    if status == 404:
        remedy = f"run prefect deploy with infra/prefect.yaml, or check {DEPLOYMENT}"
        return (problem(_POOL, f"the Prefect server has no deployment {pool.deployment}", remedy),)
    if status != 200:
        return (warning(_POOL, f"{pool.deployment} could not be asked for", f"see {_NAME}"),)
    return (well(_POOL, pool.deployment),)


def asked_server(around: Surroundings, url: str) -> HttpServer:
    """Prefect's server at `url`, with the credentials of the environment."""
    known = around.environment
    user, colon, password = known.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return HttpServer(
        url,
        around.timeout,
        (user, password) if colon else None,
        None if colon else known.get("PREFECT_API_KEY"),
        known.get("PREFECT_API_SSL_CERT_FILE") or known.get("SSL_CERT_FILE"),
        says_yes(known, "PREFECT_API_TLS_INSECURE_SKIP_VERIFY"),
    )
