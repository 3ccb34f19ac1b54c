"""Free: what computes inside a kernel of the target's engine computes in FP32, where that costs next to nothing."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from autocast_core.apply import apply_plan
from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig
from autocast_core.decide.inside_kernels import Look, cast_ends, settle
from autocast_core.decide.rules import ATTENTION_CORE, DEFAULT, FREE, NEIGHBOURS
from autocast_core.engine.view import EngineView
from autocast_core.fusion import estimated_view, static_shapes
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.pipeline.stage import Stage
from autocast_core.plan import NodeDecision, PrecisionPlan

LOG = logging.getLogger(__name__)
_OPEN = frozenset({ATTENTION_CORE.name, DEFAULT.name, NEIGHBOURS.name})


def acts(config: ConversionConfig) -> bool:
    """Whether the stage can change anything: only engines of TensorRT are known to take Casts into kernels."""
    return config.decide == "measured" and config.target == "tensorrt"


def free(job: Job, sanitized: SanitizedSource, statistics: Statistics, plan: PrecisionPlan) -> PrecisionPlan:
    """`plan` with those nodes in FP32 that compute inside a kernel; see `autocast_core.decide.inside_kernels`.

    Engines are built where TensorRT can be; else kernels are estimated by the model of fusion. No data is run.
    """
    from autocast_core.targets.fitting import plan_view

    model = planned_model(sanitized.model, plan)
    batches = job.calibration_batches(model)
    first = next(iter(batches), None) if batches is not None else None
    if first is None:
        return plan
    shapes = static_shapes(model, first)

    def built(current: PrecisionPlan) -> EngineView | None:
        return plan_view(model, current, job.config, batches)

    def estimated(current: PrecisionPlan) -> EngineView | None:
        return estimated_view(apply_plan(model, current).model, shapes)

    def ends(current: PrecisionPlan) -> Mapping[str, Collection[str]]:
        return cast_ends(apply_plan(model, current).model)

    before = built(plan)
    if before is None:
        LOG.info("no engine can be built: FP32 inside kernels is decided by the model of fusion")
    look = Look(before or estimated(plan), built if before is not None else estimated, before is None, ends)
    return settle(model, plan, statistics, shapes, job.config.extra_traffic, look, FREE.name, _is_open)


def _is_open(decision: NodeDecision) -> bool:
    return decision.rule in _OPEN


FREE_STAGE = Stage("free", free, (SanitizedSource, Statistics, PrecisionPlan), PrecisionPlan)
