"""A delivery as a Prefect event.

The event is named ``mlflow.ENTITY.ACTION`` and its resource ``mlflow.model-version.NAME.VERSION``. Where the version is
to be converted, the resource carries the label ``autocast.request: convert`` and a digest of what is asked, by which
the deployment's trigger starts one run where several events ask for the same at once, and the payload, under
``autocast``, the parameters of convert-model; where a tag asks for its approval, ``autocast.request: promote`` and
those of promote-version; else the payload says under ``autocast.skipped`` why not.
"""

from __future__ import annotations

from typing import Any

from flows.bridge.delivery import Delivery, Message
from flows.request.registry_tags import REQUEST_TAGS, ApprovalRequest, ConversionRequest, Skipped
from flows.request.spec import Spec
from tasks.tracking.registry.review_tags import APPROVE

_REQUESTING = {("model_version", "created"), ("model_version_alias", "created"), ("model_version_tag", "set")}


def reason_to_skip(message: Message) -> Skipped | None:
    """None where the message may request something, so that the registry must be read; else why it cannot."""
    if (message.entity, message.action) not in _REQUESTING:
        return Skipped(f"{message.entity}.{message.action} requests nothing")
    if message.data.version is None:
        return Skipped("the message names no version")
    if message.entity == "model_version_tag" and message.data.key not in REQUEST_TAGS | {APPROVE}:
        return Skipped(f"tag {message.data.key!r} requests nothing")
    return None


def asks_for_approval(message: Message) -> bool:
    """Whether the message says that the tag was set by which a person asks for an approval."""
    return (message.entity, message.action, message.data.key) == ("model_version_tag", "set", APPROVE)


def event_of(delivery: Delivery, decision: ConversionRequest | ApprovalRequest | Skipped) -> dict[str, Any]:
    """The event as Prefect's API takes it. Its id is the delivery's: Prefect drops a repeated one."""
    message, data = delivery.message, delivery.message.data
    model = f"mlflow.registered-model.{data.name}"
    resource = {
        "prefect.resource.id": f"mlflow.model-version.{data.name}.{data.version}" if data.version else model,
        "prefect.resource.name": f"{data.name} v{data.version}" if data.version else data.name,
        "mlflow.model": data.name,
    }
    optional = {"mlflow.version": data.version, "mlflow.alias": data.alias, "mlflow.tag.key": data.key}
    resource |= {label: value for label, value in optional.items() if value is not None}
    if isinstance(decision, ConversionRequest):
        resource["autocast.request"] = "convert"
        resource["autocast.request.digest"] = Spec(**decision.spec).request_digest()
        autocast: dict[str, Any] = {"model": decision.model, "spec": dict(decision.spec)}
    elif isinstance(decision, ApprovalRequest):
        resource["autocast.request"] = "promote"
        autocast = {"model": decision.model}
    else:
        autocast = {"skipped": decision.reason}
    return {
        "id": str(delivery.delivery_id),
        "occurred": message.timestamp.isoformat(),
        "event": f"mlflow.{message.entity}.{message.action}",
        "resource": resource,
        "related": [{"prefect.resource.id": model, "prefect.resource.role": "registered-model"}],
        "payload": {**data.model_dump(exclude_none=True), "autocast": autocast},
    }
