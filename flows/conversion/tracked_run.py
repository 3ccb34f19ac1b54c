"""What every flow does around its own work: a run in MLflow that is always ended, and a folder for intermediate files.

- `tracked_run` begins the MLflow run and ends it whatever happens, with the reason of a failure.
- The state hooks `remove_work_folder`, `remove_work_folder_unless_retried` and `end_tracking_run` do the same for a
  flow whose process could not.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import clear_frames
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prefect import runtime

from autocast_core.errors import AutocastError, GateError, InputError, ServiceError, came_of, was_interrupted
from autocast_core.process.full_disk import full_disk_told
from autocast_core.version import VERSION
from flows.conversion.unpublished import UnpublishedError
from flows.local.abandoned_runs import end_abandoned_runs, is_in_progress, run_marker
from flows.local.home import Home, home
from flows.local.own_files import delete_work_folder, make_work_folder, work_folders
from tasks.progress import listener, stage
from tasks.stages.track import begin_task
from tasks.storage.cache_limit import cache_in_use, limit_from_environment
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.tracking.registry.conversions import FLOW_RUN_TAG, end_abandoned
from tasks.tracking.runs import RunRef, end_run, go_on

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

KEEP_FAILED_SECONDS = 7 * 86400
_STOPPED_BY: Mapping[str, str] = MappingProxyType(
    {
        "KeyboardInterrupt": "interrupted at the terminal",
        "TerminationSignal": "cancelled, or its worker was told to stop",
        "CancelledError": "cancelled",
    }
)
"""What stopped a process, by the type that its flow sees."""


@contextmanager
def tracked_run(
    home: Home, name: str, params: Mapping[str, str], tags: Mapping[str, str], timings: MutableMapping[str, float]
) -> Iterator[RunRef]:
    """Begins the MLflow run `name` of the current flow run, and ends it however the block ends.

    A retried flow run reopens the run that its first attempt began. Beside `tags` the run gets the version of AutoCast
    Flow and the flow run's id. An exception ends the run as FAILED with `failure_reason`, what stops the process as
    KILLED; where the tracking server does not answer at that moment, the exception is still the one that is raised, and
    the next run of this home ends this one. ServiceError or InputError where the tracking server cannot be used,
    OutputError where the home folder cannot be written.
    """
    tracking_uri, flow_run = resolve_tracking_uri(), str(runtime.flow_run.id)
    with run_marker(home, tracking_uri, flow_run) as remove_marker:
        with stage("track", timings):
            end_abandoned_runs(home, tracking_uri)
            run = begin_task(
                tracking_uri, name, dict(params), {**tags, "autocast.version": VERSION, FLOW_RUN_TAG: flow_run}
            )
            go_on(run)
        listener().note("run_id", run.run_id)
        try:
            with full_disk_told(), cache_in_use(home.cache, limit_from_environment()):
                yield run
        except BaseException as error:
            _release(error)
            with suppress(ServiceError):
                end_run(run, failure_reason(error), is_stopped=_is_stopped(error))
                remove_marker()
            raise
        end_run(run)
        remove_marker()


def failure_reason(error: BaseException) -> str:
    """Why a run failed, on one line; an error that is not AutoCast Flow's own is named by its type, what stopped the
    process by what it means."""
    if was_interrupted(error):
        error = KeyboardInterrupt()
    if not isinstance(error, Exception):
        kind = type(error).__name__
        return f"{_STOPPED_BY.get(kind, 'its process was ended')} ({kind})"
    text = " ".join(str(error).split())
    return text if isinstance(error, AutocastError) else f"{type(error).__name__}: {text or 'no message'}"


def _release(error: Any) -> None:
    """Frees what an interrupted call held, where `error` is of one. A query that was half read would lock MLflow's
    database (SQLite) for as long as the traceback has its cursor: this process would wait 20 s for itself, in vain."""
    if isinstance(error, BaseException) and was_interrupted(error):
        for each in came_of(error):
            clear_frames(each.__traceback__)


def _is_stopped(error: BaseException) -> bool:
    """Whether the run was stopped from outside: cancelled (which is no Exception), or interrupted."""
    return not isinstance(error, Exception) or was_interrupted(error)


def model_stem(uri: str) -> str:
    """What a run is called before the model is fetched: the last part of its location, without ``.onnx``; of a
    registered version its name with the version or alias, such as ``resnet/3``."""
    if uri.startswith("models:/"):
        return uri.removeprefix("models:/") or uri
    return re.split(r"[/\\]", uri.partition("?")[0].rstrip("/\\"))[-1].removesuffix(".onnx") or uri


def work_folder(home: Home) -> Path:
    """The folder of the current flow run's intermediate files, absolute. OutputError where it cannot be made."""
    return make_work_folder(home, str(runtime.flow_run.id))


def remove_old_work_folders(home: Home) -> None:
    """Removes the intermediate files of failed runs that nobody has retried for a week, and nothing else.

    Those of a run in progress stay however old they look: it may take long, or the clock may have been set.
    """
    oldest = time.time() - KEEP_FAILED_SECONDS
    for folder in work_folders(home):
        if folder.lstat().st_mtime < oldest and not is_in_progress(home, folder.name):
            delete_work_folder(home, folder.name)


def remove_work_folder(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A state hook for a run that nobody will retry."""
    delete_work_folder(home(), str(flow_run.id))


def remove_work_folder_unless_retried(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A state hook for a failed or crashed run. A retry continues with the files of the first attempt.

    Only deployed runs are retried; invalid input and missed gates fail again however often they are tried, and what is
    lost is not kept.
    """
    error = state.result(raise_on_failure=False)
    lost = isinstance(error, UnpublishedError) and not error.is_kept
    if flow_run.deployment_id is None or lost or isinstance(error, InputError | GateError):
        remove_work_folder(flow, flow_run, state)


def end_tracking_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """A state hook for a run whose process could not end its tracking run."""
    _release(getattr(state.data, "result", state.data))
    end_abandoned(resolve_tracking_uri(), str(flow_run.id), f"the flow run ended as {state.name}")
