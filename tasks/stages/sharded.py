"""Stages of a conversion whose work is shared out to a runner, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.utilities.annotations import quote

from autocast_core.pipeline.saved import JobRequest
from tasks.prefect.result_reuse import OF_THIS_HOME
from tasks.shards.calibration import calibrate_sharded
from tasks.shards.evaluation import evaluate_sharded
from tasks.shards.runner import LocalRunner, Runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.stages.conversion import ISOLATED, call_task

CallStage = Callable[[str, JobRequest, tuple[Any, ...]], Any]
CALIBRATE, EVALUATE = "calibrate", "evaluate"


def stage_caller(runner: Runner, calibration: ShardInputs | None, evaluation: ShardInputs | None) -> CallStage:
    """What runs a stage as its task, as `call_task`; where the runner is not this process, those stages whose work can
    be shared out do so. `calibration` and `evaluation` are what workers read for these stages (None: there is no
    data)."""
    shared: dict[str, Callable[[JobRequest, tuple[Any, ...]], Any]] = {}
    if calibration is not None:
        shared[CALIBRATE] = lambda request, inputs: calibrate_sharded(request, inputs[0], calibration, runner)
    if evaluation is not None:
        shared[EVALUATE] = lambda request, inputs: evaluate_sharded(request, (inputs[0], inputs[1]), evaluation, runner)
    if isinstance(runner, LocalRunner) or not shared:
        return call_task

    def perform_shared(stage: str, request: JobRequest, inputs: tuple[Any, ...]) -> Any:
        made = shared[stage](request, inputs)
        return ISOLATED[stage](stage, request, inputs) if made is None else made

    tasks = {name: task(name=name, persist_result=True, cache_policy=OF_THIS_HOME)(perform_shared) for name in shared}

    def call(stage: str, request: JobRequest, inputs: tuple[Any, ...]) -> Any:
        if stage not in tasks:
            return call_task(stage, request, inputs)
        quoted: Any = quote(request), quote(inputs)
        return tasks[stage](stage, *quoted)

    return call
