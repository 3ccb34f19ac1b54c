"""The web application: one webhook, its health, its metrics.

A rejected delivery gets 401 (signature, age), 408 (slow), 409 (seen before), 413 (size), 422 (content), 429 (too many),
503 with Retry-After where Prefect or MLflow is down: MLflow delivers again. Counted by outcome; logged without
bodies, headers and secrets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from autocast_core.errors import ServiceError
from autocast_core.text import visible
from flows.bridge.delivery import Delivery, DeliveryRejectedError, Seen, check, read, replayed
from flows.bridge.events import asks_for_approval, event_of, reason_to_skip
from flows.bridge.prometheus_metrics import RunMetrics, keep_up_to_date
from flows.bridge.rate import RateLimit
from flows.bridge.servers import Servers
from flows.bridge.settings import BridgeSettings
from flows.request.registry_tags import (
    ApprovalRequest,
    ConversionRequest,
    Skipped,
    approval_for,
    read_spec_file,
    request_for,
)

if TYPE_CHECKING:
    from uuid import UUID

LOG = logging.getLogger("autocast.bridge")
OUTCOMES = (
    *("requested", "skipped", "unavailable"),
    *("unsigned", "bad_signature", "stale", "malformed", "replayed", "oversized", "slow", "too_many"),
)
"""What becomes of a delivery; the second line are those of DeliveryRejectedError."""
_NOT_OURS = frozenset({"unsigned", "bad_signature"})
_DEGRADED_AFTER = 3
"""Deliveries in a row that are not signed with the bridge's secret, before it says so."""


class Bridge:
    """What the routes share. `clock` gives seconds since 1970."""

    def __init__(self, settings: BridgeSettings, servers: Servers, clock: Callable[[], float] = time.time) -> None:
        self._settings, self.servers, self._clock = settings, servers, clock
        # A timestamp may be ahead by the tolerance, and is fresh for as long again.
        self._seen = Seen(2 * settings.tolerance)
        self._rate = RateLimit(settings.per_second)
        self._registry = CollectorRegistry()
        self._outcomes = Counter(
            "autocast_bridge_deliveries", "Webhook deliveries by outcome", ["outcome"], registry=self._registry
        )
        # At zero from the beginning: Prometheus sees no increase in a series that begins at one.
        for outcome in OUTCOMES:
            self._outcomes.labels(outcome)
        self._wrongly_signed = 0
        in_a_row = Gauge(
            "autocast_bridge_wrongly_signed_in_a_row",
            "Deliveries not signed with the bridge's secret since the last one that was",
            registry=self._registry,
        )
        in_a_row.set_function(lambda: self._wrongly_signed)
        self._seconds = Histogram(
            "autocast_bridge_delivery_seconds", "Time to answer a delivery", registry=self._registry
        )
        self.run_metrics = RunMetrics(self._registry, datetime.fromtimestamp(clock(), UTC))

    async def hook(self, request: Request) -> Response:
        started = time.monotonic()
        try:
            outcome, answer = await self._handle(request)
        except DeliveryRejectedError as error:
            outcome, answer = error.outcome, JSONResponse({"error": str(error)}, error.status)
            self._wrongly_signed += outcome in _NOT_OURS
            LOG.warning("rejected a delivery with %s: %s", error.status, error)
        self._outcomes.labels(outcome).inc()
        self._seconds.observe(time.monotonic() - started)
        return answer

    async def healthy(self, _: Request) -> Response:
        return JSONResponse({"ok": True})

    async def ready(self, _: Request) -> Response:
        servers = await self.servers.ready()
        state: dict[str, bool | str] = {"ok": all(servers.values()), **servers}
        if self._wrongly_signed >= _DEGRADED_AFTER:
            # No 503, with which anybody could take the bridge out of service by sending it nonsense.
            state["degraded"] = (
                f"the last {self._wrongly_signed} deliveries were not signed with this bridge's secret: "
                "run autocast bridge register with its variables"
            )
        return JSONResponse(state, 200 if state["ok"] else 503)

    async def metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _handle(self, request: Request) -> tuple[str, Response]:
        self._rate.take(self._clock())
        body = await _body(request, self._settings.max_bytes, self._settings.timeout)
        now = self._clock()
        identifier = check(request.headers, body, self._settings.secrets, now, self._settings.tolerance)
        self._wrongly_signed = 0
        self._seen.add(identifier, now)
        accepted = False
        try:
            delivery = Delivery(identifier, read(body))
            # At once, as the tags may change: those of this moment are what the delivery is about.
            decision = await self._decide(delivery)
            if await self.servers.has_sent(identifier):
                raise replayed()
            await self.servers.send(event_of(delivery, decision))
            accepted = True
        except ServiceError as error:
            LOG.warning("delivery %s must come again: %s", identifier, error)
            wait = {"Retry-After": str(self._settings.retry_after)}
            return "unavailable", JSONResponse({"error": str(error)}, 503, headers=wait)
        finally:
            if not accepted:
                self._seen.forget(identifier)
        return _accepted(identifier, delivery, decision)

    async def _decide(self, delivery: Delivery) -> ConversionRequest | ApprovalRequest | Skipped:
        data = delivery.message.data
        skipped = reason_to_skip(delivery.message)
        if skipped is not None or data.version is None:
            return skipped or Skipped("the message names no version")
        tags = await self.servers.tags_of(data.name, data.version)
        if tags is None:
            # MLflow's own test deliveries are about a version that does not exist.
            return Skipped(f"the registry has no version {data.version!r} of {data.name!r}")
        if asks_for_approval(delivery.message):
            return approval_for(tags)
        return await asyncio.to_thread(request_for, tags, read_spec_file, self._settings.tag_policy)


def _accepted(
    identifier: UUID, delivery: Delivery, decision: ConversionRequest | ApprovalRequest | Skipped
) -> tuple[str, Response]:
    what = visible(f"{delivery.message.entity}.{delivery.message.action}")
    if not isinstance(decision, Skipped):
        asked = "convert" if isinstance(decision, ConversionRequest) else "promote"
        LOG.info("delivery %s: %s asks to %s %r", identifier, what, asked, decision.model)
        return "requested", JSONResponse({"requested": decision.model}, 202)
    LOG.info("delivery %s: %s skipped: %r", identifier, what, decision.reason)
    return "skipped", JSONResponse({"skipped": decision.reason}, 202)


async def _body(request: Request, limit: int, seconds: float) -> bytes:
    """The body of a request. DeliveryRejectedError: 413 for more than `limit` bytes, 408 where it comes too slowly."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise DeliveryRejectedError(413, "oversized", f"the body is larger than {limit} bytes")
    except TimeoutError as error:
        raise DeliveryRejectedError(408, "slow", f"the body did not arrive within {seconds:g} s") from error
    return bytes(body)


def make_app(
    settings: BridgeSettings, servers: Servers | None = None, clock: Callable[[], float] = time.time
) -> Starlette:
    """The application; its clients are closed when it ends."""
    bridge = Bridge(settings, servers or Servers(settings), clock)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        updates = asyncio.create_task(keep_up_to_date(bridge.run_metrics, bridge.servers, clock))
        yield
        updates.cancel()
        await asyncio.gather(updates, return_exceptions=True)
        await bridge.servers.close()

    routes = [
        Route("/mlflow", bridge.hook, methods=["POST"]),
        Route("/healthz", bridge.healthy),
        Route("/readyz", bridge.ready),
        Route("/metrics", bridge.metrics),
    ]
    return Starlette(routes=routes, lifespan=lifespan)
