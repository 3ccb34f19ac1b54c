"""The bridge's settings: the secret that it shares with MLflow, and its address."""

from __future__ import annotations

from autocast_core.errors import ConfigError
from flows.bridge.settings import PREVIOUS_SECRET, SECRET, secrets_of
from flows.doctor.check_result import Results, Surroundings, problem, well
from flows.doctor.http_server import is_http

_NAME = "webhook"
_URL = "AUTOCAST_BRIDGE_URL"


def webhook(around: Surroundings) -> Results:
    """Whether the secret is long enough, where there is one or the bridge has an address."""
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
    return (well(_NAME, f"{SECRET} is set" + (", and the one before" if count > 1 else "")),)
