"""Notifications of how a conversion ended: a Prefect event for automations and, where configured, a line for people.

Events (resource ``autocast.conversion.FLOW_RUN_ID``): ``autocast.conversion.completed``, ``.skipped``,
``.gate_failed``, ``.failed``, ``.crashed``, ``.cancelled``. Payload: ``model``, ``precision``, ``flow_run_id``,
``reason`` (None on success) and, as far as the conversion went, ``run_id``, ``registered``, ``output``,
``output_sha256``, ``gates`` (each with expression, value, passed, reason).
With AUTOCAST_NOTIFY_URL the same is posted there as ``{"text": ...}``, as Slack and Mattermost take it.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Mapping
from typing import Any

from autocast_core.errors import GateError
from autocast_core.text import one_line
from flows.conversion.ending_states import SKIPPED

LOG = logging.getLogger(__name__)
URL_VARIABLE = "AUTOCAST_NOTIFY_URL"
TIMEOUT_SECONDS = 10.0
_KINDS = {"COMPLETED": "completed", "FAILED": "failed", "CRASHED": "crashed", "CANCELLED": "cancelled"}
_RESULT_KEYS = ("run_id", "registered", "output", "output_sha256", "gates")


def announce(flow: Any, flow_run: Any, state: Any) -> None:
    """A state hook of convert-model. Errors here are logged and do not change the run's state."""
    try:
        kind, payload = notice(flow_run, state)
        _emit(kind, flow_run, payload)
        _post(os.environ.get(URL_VARIABLE), sentence(kind, payload))
    except Exception as error:
        LOG.warning("no notification of %s: %s", flow_run.name, type(error).__name__)


def notice(flow_run: Any, state: Any) -> tuple[str, dict[str, Any]]:
    """The kind of the event and its payload."""
    outcome = _outcome(state)
    kind = "gate_failed" if isinstance(outcome, GateError) else _KINDS.get(state.type.value, "failed")
    kind = "skipped" if state.name == SKIPPED else kind
    parameters = flow_run.parameters
    spec = parameters.get("spec") or {}
    precision = spec.get("precision", "fp16") if isinstance(spec, Mapping) else spec.precision
    precision = precision if isinstance(precision, str) else ",".join(map(str, precision))
    result = getattr(outcome, "result", outcome)
    values = result.to_json() if hasattr(result, "to_json") else result if isinstance(result, Mapping) else {}
    reason = None if kind == "completed" else str(outcome if isinstance(outcome, BaseException) else state.message)
    return kind, {
        "model": parameters.get("model"),
        "precision": precision,
        "flow_run_id": str(flow_run.id),
        "reason": one_line(reason) if reason else None,
        **{key: values.get(key) for key in _RESULT_KEYS},
    }


def sentence(kind: str, payload: Mapping[str, Any]) -> str:
    """The notification for people, one line."""
    what = f"{payload['model']} to {payload['precision']}"
    if kind == "completed":
        return f"AutoCast converted {what}: {payload['registered']} (run {payload['run_id']})"
    return f"AutoCast did not convert {what} ({kind.replace('_', ' ')}): {payload['reason']}"


def _outcome(state: Any) -> Any:
    """The result or the exception, where this process has it."""
    try:
        return state.result(raise_on_failure=False)
    except Exception:
        return None


def _emit(kind: str, flow_run: Any, payload: Mapping[str, Any]) -> None:
    from prefect.events import emit_event

    resource = {
        "prefect.resource.id": f"autocast.conversion.{flow_run.id}",
        "prefect.resource.name": flow_run.name,
        "autocast.model": str(payload["model"]),
    }
    related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}]
    emit_event(f"autocast.conversion.{kind}", resource=resource, related=related, payload=dict(payload))


def _post(url: str | None, text: str) -> None:
    if not url:
        return
    body = json.dumps({"text": text}).encode()
    # The address is a secret, as whoever knows it can post: urllib, unlike other clients, does not log it.
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
