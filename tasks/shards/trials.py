"""A search's trials as shards: each measures some plans in one pass over all of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autocast_core.errors import ConfigError
from autocast_core.evaluate import asked_judges, load_metric, recorded
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan
from autocast_core.search.measure import PlanMeasurer, metric_of_reference, plan_metrics
from tasks.progress import report
from tasks.shards.runner import Runner
from tasks.shards.shard_inputs import ShardInputs, checked_data, fetched_model


@dataclass(frozen=True)
class TrialShard:
    """The plans (JSON) that share a pass, and how they are judged: a `metric` (``module:function``) of the user's own
    and the `judges` that the budgets name, beside the configuration's."""

    inputs: ShardInputs
    plans: tuple[str, ...]
    metric: str | None = None
    judges: tuple[str, ...] = ()


def trial_measurer(
    runner: Runner, inputs: ShardInputs, metric: str | None = None, judges: Sequence[str] = ()
) -> PlanMeasurer:
    """What measures plans by one shard on `runner`, as this process would, to the last bit.

    ConfigError for an isolated job: shards come from the process that reads the model, which must reach no cluster.
    """
    if inputs.isolated:
        raise ConfigError("a search in an isolated process cannot be shared out: give runner local, or isolation none")

    def measure(plans: Sequence[PrecisionPlan]) -> list[dict[str, float]]:
        shard = TrialShard(inputs, tuple(plan.to_json() for plan in plans), metric, tuple(judges))
        return next(iter(runner.map(measure_trial, [shard])))

    return measure


def measure_trial(shard: TrialShard, threads: int | None) -> list[dict[str, float]]:
    """On a worker: the metrics of each of the shard's plans, computed with so many threads."""
    with fetched_model(shard.inputs) as model:
        return _metrics(model, checked_data(shard.inputs), shard, threads)


def _metrics(model: ModelRef, data: Path, shard: TrialShard, threads: int | None) -> list[dict[str, float]]:
    inputs, config = shard.inputs, shard.inputs.config
    allowed = inputs.allow_nonfinite
    job = Job(model, config, evaluation=data, progress=report, threads=threads, allow_nonfinite=allowed)
    sanitized = run_stages((LOAD, SANITIZE), in_this_process(job))[SanitizedSource]
    original = job.reference()
    batches = job.batches(original, data)
    plans = [PrecisionPlan.from_json(text) for text in shard.plans]
    metric = load_metric(shard.metric) if shard.metric is not None else None
    judges = asked_judges(config.judges, shard.judges)
    with recorded(original, batches, job.runtime, config.class_outputs) as recording:
        judged = metric, judges, metric_of_reference(metric, recording, batches)
        return plan_metrics(sanitized.model, plans, recording, batches, job.runtime, *judged)
