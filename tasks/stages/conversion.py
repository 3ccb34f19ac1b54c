"""The stages of a conversion as Prefect tasks, made from the pipeline's list.

A stage is called by `call_task` on saved artifacts; see autocast_core.pipeline.saved. Its name is an argument of the
task because Prefect tells results apart by arguments and source code, and all stages share the latter.
The plain calls in ISOLATED are the same without Prefect, for commands that need no flow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prefect import Task, task
from prefect.utilities.annotations import quote

from autocast_core.errors import VerificationError
from autocast_core.model import ModelRef, files_digest
from autocast_core.pipeline.cache import artifact_cache
from autocast_core.pipeline.saved import FORMS, STAGES, JobRequest, SavedModelFiles, perform
from autocast_core.pipeline.stages.evaluate import Evaluated, evaluate_candidate
from tasks.isolation import isolated
from tasks.prefect.result_reuse import OF_THIS_HOME
from tasks.progress import report


def perform_stage(stage: str, request: JobRequest, inputs: tuple[Any, ...]) -> Any:
    """The stage named `stage` on saved `inputs`, with progress to this context's listener; see `perform`."""
    return perform(stage, request, inputs, report)


ISOLATED: Mapping[str, Callable[[str, JobRequest, tuple[Any, ...]], Any]] = MappingProxyType(
    {name: isolated(perform_stage, FORMS[stage.output].saved, name=name) for name, stage in STAGES.items()}
)
TASKS: Mapping[str, Task[[str, JobRequest, tuple[Any, ...]], Any]] = MappingProxyType(
    {name: task(name=name, persist_result=True, cache_policy=OF_THIS_HOME)(call) for name, call in ISOLATED.items()}
)


def call_task(stage: str, request: JobRequest, inputs: tuple[Any, ...]) -> Any:
    """The stage named `stage` on saved `inputs`, as its task.

    Quoted, or Prefect looks for futures in every value that request and inputs hold, which takes longer than the stage
    of a small model; to the task they are themselves.
    """
    quoted: Any = quote(request), quote(inputs)
    return TASKS[stage](stage, *quoted)


def check_unchanged(converted: SavedModelFiles, digest: str | None = None) -> None:
    """VerificationError where the files, or what was read of them (`digest`), are not those that were verified."""
    path = converted.model.path
    found = digest or files_digest(path.parent, converted.files)
    if found != converted.model.digest:
        raise VerificationError(
            f"{path.name}: its sha256 is {found[:16]}… instead of {converted.model.digest[:16]}…: the work folder was "
            "changed after the model was verified; keep others out of it and run again"
        )


def count_casts(model: ModelRef, plan: Path) -> int:
    """How many casts applying the plan would insert; nothing is written."""
    from autocast_core.apply import apply_plan
    from autocast_core.pipeline.planned_graph import planned_model

    cache = artifact_cache()
    known = cache.plan(plan)
    return apply_plan(planned_model(cache.model(model), known), known).casts_inserted


casts_of_plan = isolated(count_casts, int)


def check_valid(model: ModelRef) -> bool:
    """ModelError where the model is not valid ONNX."""
    from autocast_core.verify import load_checked

    load_checked(model)
    return True


is_valid = isolated(check_valid, bool)


def evaluate_pair(request: JobRequest, candidate: ModelRef, backends: tuple[str, ...]) -> Evaluated:
    """Any converted model beside the request's source; see autocast_core.pipeline.stages.evaluate."""
    job = request.job(report)
    return evaluate_candidate(job, job.cache.model(candidate), backends)


evaluate_models = isolated(evaluate_pair, Evaluated)
