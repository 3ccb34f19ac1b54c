"""A webhook delivery: whether it is genuine, fresh and new, and what it says.

MLflow signs base64(HMAC-SHA256(secret, "ID.TIMESTAMP.BODY")) (mlflow.webhooks.delivery) and sends a delivery that was
not accepted again under the same id and timestamp.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, ValidationError

_ID, _TIMESTAMP, _SIGNATURE = "x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"
_VERSION = "v1"


class DeliveryRejectedError(Exception):
    """A delivery that is not accepted: the HTTP status and a reason without anything secret."""

    def __init__(self, status: int, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.outcome = outcome


class Data(BaseModel):
    """The version that an event is about; other fields as MLflow sends them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, BeforeValidator(str)]
    version: str | None = None
    alias: str | None = None
    key: str | None = None


class Message(BaseModel):
    """The body of a delivery."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    entity: str
    action: Literal["created", "updated", "deleted", "set", "exceeded"]
    timestamp: AwareDatetime
    data: Data


@dataclass(frozen=True)
class Delivery:
    """A genuine message and its id."""

    delivery_id: uuid.UUID
    message: Message


def check(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: float, tolerance: float) -> uuid.UUID:
    """The id of a delivery that is signed with one of the secrets and that is at most `tolerance` seconds old or ahead.

    DeliveryRejectedError with status 401 otherwise.
    """
    delivery, timestamp, signature = (headers.get(name, "") for name in (_ID, _TIMESTAMP, _SIGNATURE))
    if not (delivery and timestamp and signature):
        raise DeliveryRejectedError(401, "unsigned", "the delivery lacks an id, a timestamp or a signature")
    signed = f"{delivery}.{timestamp}.".encode() + body
    wanted = [base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()) for secret in secrets]
    # All are compared, each in constant time: how long this takes says nothing about the secret.
    given = [part.partition(",") for part in signature.split(" ")]
    matches = [
        version == _VERSION and hmac.compare_digest(text.encode(), one)
        for version, _, text in given[:8]
        for one in wanted
    ]
    if not any(matches):
        raise DeliveryRejectedError(401, "bad_signature", "the signature does not match")
    # Python reads no number of thousands of digits.
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20
    if not is_number or abs(now - int(timestamp)) > tolerance:
        raise DeliveryRejectedError(401, "stale", f"the timestamp is more than {tolerance:.0f} s from now")
    try:
        return uuid.UUID(delivery)
    except ValueError as error:
        raise DeliveryRejectedError(422, "malformed", "the delivery id is not a UUID") from error


def read(body: bytes) -> Message:
    """The message in `body`. DeliveryRejectedError with status 422 where it is invalid."""
    try:
        return Message.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, problem["loc"])) or "body"
        raise DeliveryRejectedError(422, "malformed", f"{where}: {problem['msg']}") from error


def replayed() -> DeliveryRejectedError:
    """The rejection of a delivery that was accepted before."""
    return DeliveryRejectedError(409, "replayed", "a delivery of this id was accepted before")


class Seen:
    """The ids of deliveries that this process accepted or has in progress, kept as long as their timestamps stay fresh.

    What was accepted before it started, or by another bridge, Prefect knows: see Servers.has_sent.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ids: OrderedDict[uuid.UUID, float] = OrderedDict()

    def add(self, delivery: uuid.UUID, now: float) -> None:
        """DeliveryRejectedError with status 409 where the id is known."""
        while self._ids and next(iter(self._ids.values())) < now - self._seconds:
            self._ids.popitem(last=False)
        if delivery in self._ids:
            raise replayed()
        self._ids[delivery] = now

    def forget(self, delivery: uuid.UUID) -> None:
        """The delivery failed, and may come again."""
        self._ids.pop(delivery, None)
