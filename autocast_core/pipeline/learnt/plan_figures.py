"""What a plan's decisions from data are worth: the model by the plan, and with those nodes low."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig, Precision
from autocast_core.evaluate.metric_names import SIMULATION, WORST_BATCH_SQNR
from autocast_core.model import ModelRef
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.learnt.recipe_of_plan import PlanFigures, rests_on_data
from autocast_core.pipeline.planned_graph import planned_config, planned_model
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import evaluate_candidate
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan


def graph_of_plan(source: Path, plan: PrecisionPlan) -> ir.Model:
    """The graph of the model at `source` that `plan` speaks of. PlanError where the plan repairs what it lacks."""
    made = run_stages((LOAD, SANITIZE), in_this_process(_job(source, plan, None)))
    return planned_model(made[SanitizedSource].model, plan)


def plan_figures(source: Path, plan: PrecisionPlan, evaluation: Path) -> PlanFigures:
    """Both figures of `plan`, on `evaluation`, for the model at `source`."""
    job, graph = _job(source, plan, evaluation), graph_of_plan(source, plan)
    lowered = tuple(
        replace(each, precision=plan.precision, rule="search")
        if rests_on_data(each) and each.precision is Precision.FP32
        else each
        for each in plan.nodes
    )
    by_plan, all_low = (
        evaluate_candidate(job, apply_plan(graph, each).model, (SIMULATION,)).metrics.get(WORST_BATCH_SQNR)
        for each in (plan, replace(plan, nodes=lowered))
    )
    return PlanFigures(by_plan, all_low)


def _job(source: Path, plan: PrecisionPlan, evaluation: Path | None) -> Job:
    return Job(ModelRef(source, ""), planned_config(ConversionConfig(), plan), evaluation=evaluation)
