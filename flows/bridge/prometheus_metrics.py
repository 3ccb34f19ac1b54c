"""Metrics of flow runs for Prometheus, kept up to date by the bridge: durations by stage, outcomes, queue and lag.

Counters begin at zero when the bridge starts, and count what ends from then on. infra/docs/operating.md describes each
metric; infra/monitoring/ has alert rules and a dashboard on them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from autocast_core.errors import ServiceError
from flows.bridge.prefect_runs import (
    FLOWS,
    STATES,
    Asks,
    EndedRun,
    UnfinishedRun,
    ended_runs,
    pools_ready,
    unfinished_runs,
)

LOG = logging.getLogger("autocast.bridge")
INTERVAL_SECONDS = 15.0
_SETTLED = timedelta(seconds=10)
"""Task runs reach Prefect's database some seconds after they end."""
_LOOK_BACK = timedelta(minutes=10)
"""Runs are found this long after their end, also where a worker's clock is behind."""
_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)


class RunMetrics:
    """The metrics, and what was counted lately."""

    def __init__(self, registry: CollectorRegistry, started: datetime) -> None:
        self._counted: dict[tuple[UUID, datetime], datetime] = {}
        self._started = started
        self._ended = Counter("autocast_runs", "Flow runs that ended, by state", ["flow", "state"], registry=registry)
        # At zero from the beginning: Prometheus sees no increase in a series that begins at one.
        for flow, state in product(FLOWS, STATES):
            self._ended.labels(flow, state)
        self._ran = self._histogram("run_seconds", "From a run's beginning to its end", ["flow"], registry)
        self._waited = self._histogram(
            "run_wait_seconds", "From when a run was due to its beginning", ["flow"], registry
        )
        self._stages = self._histogram("stage_seconds", "Stages that ran", ["flow", "stage"], registry)
        self._lag = self._histogram(
            "request_to_candidate_seconds", "From the event in the registry to the end of its conversion", [], registry
        )
        self._unfinished = Gauge(
            "autocast_runs_unfinished", "Flow runs that are due or run", ["flow", "state", "pool"], registry=registry
        )
        self._oldest = Gauge(
            "autocast_oldest_wait_seconds", "How long the longest waiting run has been due", ["pool"], registry=registry
        )
        self._pools = Gauge("autocast_pool_ready", "1 where a worker serves the pool", ["pool"], registry=registry)
        self._read = Gauge(
            "autocast_runs_read_timestamp_seconds", "When Prefect was last asked with success", registry=registry
        )

    @staticmethod
    def _histogram(name: str, text: str, labels: list[str], registry: CollectorRegistry) -> Histogram:
        return Histogram(f"autocast_{name}", text, labels, registry=registry, buckets=_BUCKETS)

    async def update(self, prefect: Asks, now: datetime) -> None:
        """Asks Prefect once. ServiceError where it does not answer as it should; what is known then stays."""
        since, until = max(self._started, now - _LOOK_BACK), now - _SETTLED
        if until > since:
            for run in await ended_runs(prefect, since, until, frozenset(self._counted)):
                self._count(run)
                self._counted[run.key] = now
        unfinished, pools = await unfinished_runs(prefect, now), await pools_ready(prefect)
        self._show(unfinished, pools, now)
        self._counted = {key: when for key, when in self._counted.items() if when > now - 2 * _LOOK_BACK}
        self._read.set(now.timestamp())

    def _count(self, run: EndedRun) -> None:
        self._ended.labels(run.flow, run.state).inc()
        for histogram, seconds in ((self._ran, run.ran), (self._waited, run.waited)):
            if seconds is not None:
                histogram.labels(run.flow).observe(max(0.0, seconds))
        for stage, seconds in run.stages:
            self._stages.labels(run.flow, stage).observe(seconds)
        if run.since_request is not None:
            self._lag.observe(max(0.0, run.since_request))

    def _show(self, unfinished: Iterable[UnfinishedRun], pools: Mapping[str, bool], now: datetime) -> None:
        # What was there before and is no more must not stay.
        for gauge in (self._unfinished, self._oldest, self._pools):
            gauge.clear()
        oldest = dict.fromkeys(pools, 0.0)
        for run in unfinished:
            self._unfinished.labels(run.flow, run.state, run.pool).inc()
            if run.waiting_since is not None:
                waits = (now - run.waiting_since).total_seconds()
                oldest[run.pool] = max(oldest.get(run.pool, 0.0), waits)
        for pool, seconds in oldest.items():
            self._oldest.labels(pool).set(seconds)
        for pool, is_ready in pools.items():
            self._pools.labels(pool).set(is_ready)


async def keep_up_to_date(
    metrics: RunMetrics, prefect: Asks, clock: Callable[[], float], interval: float = INTERVAL_SECONDS
) -> None:
    """Asks Prefect every `interval` seconds until it is cancelled. That Prefect does not answer is logged once.

    `clock` gives seconds since 1970.
    """
    answered = True
    while True:
        try:
            await metrics.update(prefect, datetime.fromtimestamp(clock(), UTC))
            answered = True
        except ServiceError as error:
            if answered:
                LOG.warning("metrics of runs are out of date: %s", error)
            answered = False
        await asyncio.sleep(interval)
