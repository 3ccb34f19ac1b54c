"""Stages of a conversion whose work is shared out to a runner, as Prefect tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import task
from prefect.utilities.annotations import quote

from autocast_core.pipeline.saved import JobRequest, SavedStatistics
from tasks.prefect.result_reuse import OF_THIS_HOME
from tasks.shards.calibration import calibrate_sharded
from tasks.shards.runner import LocalRunner, Runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.stages.conversion import ISOLATED, call_task

CallStage = Callable[[str, JobRequest, tuple[Any, ...]], Any]
CALIBRATE = "calibrate"


def stage_caller(runner: Runner, calibration: ShardInputs | None) -> CallStage:
    """What runs a stage as its task, as `call_task`; where the runner is not this process, those stages whose work can
    be shared out do so. `calibration` is what workers read to calibrate (None: there is no data)."""
    if isinstance(runner, LocalRunner) or calibration is None:
        return call_task

    @task(name=CALIBRATE, persist_result=True, cache_policy=OF_THIS_HOME)
    def calibrate(request: JobRequest, inputs: tuple[Any, ...]) -> SavedStatistics:
        made = calibrate_sharded(request, inputs[0], calibration, runner)
        if made is not None:
            return made
        alone: SavedStatistics = ISOLATED[CALIBRATE](CALIBRATE, request, inputs)
        return alone

    def call(stage: str, request: JobRequest, inputs: tuple[Any, ...]) -> Any:
        if stage != CALIBRATE:
            return call_task(stage, request, inputs)
        quoted: Any = quote(request), quote(inputs)
        return calibrate(*quoted)

    return call
