"""What a search is asked: about which model, to what end, and within which limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.data import Batches
from autocast_core.errors import ConfigError
from autocast_core.evaluate import TaskMetric
from autocast_core.runtime import Runtime
from autocast_core.sanitize import Change
from autocast_core.search.costs.estimated_time import device_of
from autocast_core.search.costs.set_costs import COSTS
from autocast_core.search.measure import PlanMeasurer

OVERHEAD = 2
"""Evaluations that are no trials of plans: the reference's and the attribution's."""


def check_cost(cost: str) -> None:
    """ConfigError for what a search cannot minimize."""
    if cost not in COSTS and device_of(cost) is None:
        raise ConfigError(f"cost {cost!r}: give time, time:DEVICE, {', '.join(COSTS[:-1])} or {COSTS[-1]}")


@dataclass(frozen=True)
class SearchSubject:
    """A sanitized `model` and how it is measured: on `batches`, by `runtime`, against `reference` (the source before
    sanitize, whose `changes` are known; None: `model` itself). `config` says what must not be lowered. Without
    `allow_nonfinite`, NaN or infinity in weights or in the source's outputs misses the gate ``no_nonfinite``."""

    model: ir.Model
    batches: Batches
    runtime: Runtime
    config: ConversionConfig
    reference: ir.Model | None = None
    changes: tuple[Change, ...] = ()
    allow_nonfinite: bool = True

    @property
    def source(self) -> ir.Model:
        """The model that outputs are compared with."""
        return self.model if self.reference is None else self.reference


@dataclass(frozen=True)
class SearchRequest:
    """Budgets to meet, as expressions (``sqnr_db>=40``; see evaluate.parse_gate), and what makes a set of FP32 nodes
    small: `cost` is one of COSTS, ``time`` or ``time:DEVICE``; `else_cost`, if given, takes its place where no time can
    be estimated for the model. With `metric` the budget ``task_metric_ratio`` is about it instead of top-1. With
    `pareto` the front of accuracy against cost is measured, too.

    ConfigError for an unknown cost.
    """

    budgets: tuple[str, ...]
    cost: str = "nodes"
    metric: TaskMetric | None = None
    pareto: bool = False
    else_cost: str | None = None

    def __post_init__(self) -> None:
        check_cost(self.cost)


@dataclass(frozen=True)
class SearchLimits:
    """At most `max_trials` evaluations in all, none begun after `minutes`; `workers` trials run side by side, those by
    `elsewhere` where it is given (in other processes).

    `clock` gives the seconds that `minutes` are counted on. ConfigError for limits under which no search can end.
    """

    max_trials: int | None = None
    minutes: float | None = None
    workers: int = 1
    elsewhere: PlanMeasurer | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        if self.max_trials is not None and self.max_trials <= OVERHEAD:
            raise ConfigError(
                f"max_trials is {self.max_trials}: give at least {OVERHEAD + 1}, for the reference, the attribution and"
                " all-FP32"
            )
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"minutes is {self.minutes}: give a positive number")
        if self.workers < 1:
            raise ConfigError(f"workers is {self.workers}: give at least 1")
