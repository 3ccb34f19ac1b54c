"""The bridge's settings, all from the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from autocast_core.errors import ConfigError
from flows.request.tag_policy import TagPolicy
from tasks.settings import positive_number

SECRET, PREVIOUS_SECRET = "AUTOCAST_WEBHOOK_SECRET", "AUTOCAST_WEBHOOK_SECRET_PREVIOUS"
WEBHOOK = "autocast-bridge"
"""The webhook's name in MLflow."""


@dataclass(frozen=True)
class BridgeSettings:
    """Addresses and credentials of both servers, and what a delivery must satisfy. Times in seconds, sizes in bytes."""

    prefect_api: str
    tracking_uri: str
    secrets: tuple[str, ...] = field(repr=False)
    """What deliveries may be signed with: the present one, and the one before while it is being replaced."""
    prefect_auth: tuple[str, str] | None = field(default=None, repr=False)
    prefect_key: str | None = field(default=None, repr=False)
    tracking_auth: tuple[str, str] | None = field(default=None, repr=False)
    tracking_token: str | None = field(default=None, repr=False)
    tolerance: float = 300.0
    max_bytes: int = 1 << 20
    retry_after: int = 10
    timeout: float = 10.0
    per_second: float = 500.0
    tag_policy: TagPolicy = field(default_factory=TagPolicy)


def from_environment(environment: Mapping[str, str] = os.environ) -> BridgeSettings:
    """ConfigError names the variable that is missing or unusable."""
    secrets = secrets_of(environment)
    return BridgeSettings(
        prefect_api=_http(environment, "PREFECT_API_URL").rstrip("/"),
        tracking_uri=_http(environment, "MLFLOW_TRACKING_URI").rstrip("/"),
        secrets=secrets,
        prefect_auth=_pair(environment.get("PREFECT_API_AUTH_STRING")),
        prefect_key=environment.get("PREFECT_API_KEY"),
        tracking_auth=_tracking_auth(environment),
        tracking_token=environment.get("MLFLOW_TRACKING_TOKEN"),
        tolerance=positive_number(environment, "AUTOCAST_BRIDGE_TOLERANCE_SECONDS", 300.0),
        max_bytes=int(positive_number(environment, "AUTOCAST_BRIDGE_MAX_BYTES", 1 << 20)),
        per_second=positive_number(environment, "AUTOCAST_BRIDGE_PER_SECOND", 500.0),
        tag_policy=TagPolicy.from_environment(environment),
        retry_after=int(positive_number(environment, "AUTOCAST_BRIDGE_RETRY_AFTER_SECONDS", 10.0)),
    )


def secrets_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    """What deliveries may be signed with, the present secret first. ConfigError where one is missing or too short."""
    secrets = [environment.get(SECRET, ""), environment.get(PREVIOUS_SECRET, "")]
    if not secrets[1]:
        del secrets[1]
    for name, secret in zip((SECRET, PREVIOUS_SECRET), secrets, strict=False):
        if len(secret) < 16:
            raise ConfigError(f"{name} must be set to a secret of at least 16 characters")
    return tuple(secrets)


def _http(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value.startswith(("http://", "https://")):
        raise ConfigError(f"{name} must be set to the http(s) address of the server")
    return value


def _pair(text: str | None) -> tuple[str, str] | None:
    if not text:
        return None
    user, _, password = text.partition(":")
    return user, password


def _tracking_auth(environment: Mapping[str, str]) -> tuple[str, str] | None:
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    return (user, environment.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None
