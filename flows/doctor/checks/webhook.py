"""The bridge: the secret that it shares with MLflow, its address, and whether a delivery reaches it."""

from __future__ import annotations

from autocast_core.errors import AutocastError, ConfigError
from autocast_core.text import one_line
from flows.bridge.settings import PREVIOUS_SECRET, SECRET, WEBHOOK, secrets_of
from flows.doctor.check_result import Results, Surroundings, problem, warning, well
from flows.doctor.checks.tracking_server import API, URI, asked_server
from flows.doctor.http_server import is_http

_NAME = "webhook"
_URL = "AUTOCAST_BRIDGE_URL"


def webhook(around: Surroundings) -> Results:
    """Whether the secret is long enough, where there is one or the bridge has an address, and whether a delivery that
    MLflow makes as a test is accepted. It is about a version that does not exist, and starts nothing."""
    known = around.environment
    url = known.get(_URL)
    if not (url or known.get(SECRET) or known.get(PREVIOUS_SECRET)):
        return (well(_NAME, f"{SECRET} is not set: no bridge is run or registered from here"),)
    try:
        count = len(secrets_of(known))
    except ConfigError as error:
        remedy = "set it to what `openssl rand -hex 24` prints, then run autocast bridge register"
        return (problem(_NAME, str(error), remedy),)
    if url and (not is_http(url) or not url.rstrip("/").endswith("/mlflow")):
        return (problem(_NAME, f"{_URL} is not an address that ends in /mlflow", "write http://BRIDGE:PORT/mlflow"),)
    return (well(_NAME, f"{SECRET} is set" + (", and the one before" if count > 1 else "")), *_delivery(around))


def _delivery(around: Surroundings) -> Results:
    """What becomes of a test delivery; nothing where MLflow cannot be asked for one, which `tracking_server` says."""
    uri = around.environment.get(URI, "")
    if not is_http(uri):
        return ()
    server = asked_server(around, uri)
    try:
        known = server.ask("GET", f"{API}/webhooks")
        if known.status != 200 or not isinstance(known.json, dict):
            return ()
        mine = next((each for each in known.json.get("webhooks", ()) if each.get("name") == WEBHOOK), None)
        if mine is None:
            return (problem(_NAME, f"MLflow has no webhook {WEBHOOK}", "run autocast bridge register"),)
        told = server.ask("POST", f"{API}/webhooks/{mine.get('webhook_id')}/test", json={}).json
    except AutocastError as error:
        return (warning(_NAME, f"MLflow's test delivery did not end ({one_line(error, 120)})", f"check {_URL}"),)
    result = told.get("result", {}) if isinstance(told, dict) else {}
    url, status = mine.get("url"), result.get("response_status")
    if result.get("success"):
        return (well(_NAME, f"MLflow's test delivery to {url} is accepted"),)
    if status == 401:
        remedy = "run autocast bridge register with the bridge's variables"
        return (problem(_NAME, f"{url} rejects MLflow's test delivery: the secrets of the two differ", remedy),)
    why = f"answered {status}" if status else one_line(result.get("error_message") or "no answer", 120)
    remedy = f"check {_URL}, that the bridge runs, and that MLflow can reach it"
    return (problem(_NAME, f"MLflow's test delivery to {url} fails ({why})", remedy),)
