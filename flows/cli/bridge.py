"""`autocast bridge serve|register`: MLflow's webhooks as Prefect events."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json

EVENTS = ("model_version.created", "model_version_alias.created", "model_version_tag.set")
SERVE_HELP = """Receive MLflow's registry webhooks and turn them into Prefect events.

Settings come from the environment: AUTOCAST_WEBHOOK_SECRET (and AUTOCAST_WEBHOOK_SECRET_PREVIOUS while it is replaced),
PREFECT_API_URL, MLFLOW_TRACKING_URI and their credentials.
/mlflow takes deliveries, /healthz and /readyz say how the bridge and its servers are, /metrics is for
Prometheus, and speaks for the workers too.
"""
REGISTER_HELP = """Create the webhook in MLflow, or bring the one there up to date.

MLflow takes http:// and private addresses only with MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https and
MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true in the server's environment.
"""


_LIMITS: dict[str, Any] = {"limit_concurrency": 1000, "timeout_keep_alive": 10, "server_header": False}
"""Of uvicorn: more open connections get 503, idle ones are closed."""


def add_to(app: typer.Typer) -> None:
    bridge = typer.Typer(no_args_is_help=True, help="MLflow webhooks to Prefect events.")
    bridge.command("serve", help=SERVE_HELP)(serve)
    bridge.command("register", help=REGISTER_HELP)(register)
    app.add_typer(bridge, name="bridge")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8090,
) -> None:
    """Receive MLflow's registry webhooks."""
    finish(lambda: _serve(host, port), (), False)


def register(
    url: Annotated[
        str,
        typer.Option(
            envvar="AUTOCAST_BRIDGE_URL", help="The bridge's address as MLflow reaches it, ending in /mlflow."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Create the webhook in MLflow."""
    result = finish(lambda: _register(url), ("webhook_id", "url", "events"), as_json)
    if not as_json:
        print(f"webhook {result['webhook_id']} sends {', '.join(result['events'])} to {result['url']}")


def _serve(host: str, port: int) -> dict[str, Any]:
    import logging
    import os

    import uvicorn

    from flows.bridge.app import make_app
    from flows.bridge.head_timeout import HeadTimeoutProtocol
    from flows.bridge.settings import from_environment
    from tasks.json_log import formatter

    handler = logging.StreamHandler()
    handler.setFormatter(formatter(os.environ))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    application = make_app(from_environment())
    uvicorn.run(
        application, host=host, port=port, http=HeadTimeoutProtocol, access_log=False, log_level="warning", **_LIMITS
    )
    return {}


def _register(url: str) -> dict[str, Any]:
    from flows.bridge.settings import WEBHOOK, from_environment
    from tasks.tracking.store import connect, tracking_errors

    settings = from_environment()
    events: list[Any] = list(EVENTS)
    client = connect(settings.tracking_uri)
    with tracking_errors(settings.tracking_uri):
        there = [webhook for webhook in client.list_webhooks() if webhook.name == WEBHOOK]
        if there:
            webhook = client.update_webhook(there[0].webhook_id, url=url, events=events, secret=settings.secrets[0])
        else:
            webhook = client.create_webhook(name=WEBHOOK, url=url, events=events, secret=settings.secrets[0])
    return {"webhook_id": webhook.webhook_id, "url": webhook.url, "events": events}
