"""The flow `convert-fleet`: converts many models, each with convert-model, as many at once as memory allows.

One model's failure does not stop the others. A second run converts only what is missing: convert-model returns the
results of earlier conversions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect import flow, get_run_logger, runtime, task, unmapped
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import as_completed
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from autocast_core.data.memory import available_bytes
from autocast_core.errors import AutocastError
from autocast_core.evaluate.metric_names import WORST_REL_L2
from autocast_core.progress import Progress
from autocast_core.text import one_line
from flows.conversion.tracked_run import model_stem
from flows.convert_model import convert_model
from flows.local.environment import set_defaults
from flows.local.home import home
from flows.local.memory_budget import MemoryBudget
from flows.request.fleet_file import FleetModel, ModelOutcome, check_distinct, fleet_failure
from flows.request.spec import Spec
from tasks.progress import SilentListener, listening, report, stage
from tasks.storage.model_registry import resolve_tracking_uri
from tasks.storage.size import bytes_of
from tasks.tracking.pages import version_page

BYTES_PER_MODEL_BYTE = 3.0
"""Memory that a conversion may need, for each byte of the model: the FP32 weights that a runtime holds, its
activations, and pages of the files."""
FALLBACK_MEMORY_BYTES = 8 << 30
"""The budget on a system that does not say how much memory is available."""
_CONVERT = "convert"
_THREADS: Any = ThreadPoolTaskRunner(max_workers=4)


def _run_name() -> str:
    models = runtime.flow_run.parameters["models"]
    if not models:
        return "no models"
    first = model_stem(FleetModel.model_validate(models[0]).model)
    return f"{first} and {len(models) - 1} more" if len(models) > 1 else first


@flow(name="convert-fleet", flow_run_name=_run_name, task_runner=_THREADS, result_serializer="json")
def convert_fleet(models: list[FleetModel], memory_bytes: int | None = None) -> list[dict[str, Any]]:
    """Converts every model and returns `ModelOutcome.plain` of each, in order. Where models failed the flow run ends as
    Failed, after all others were converted, and FleetError has the outcomes of all.

    `memory_bytes` is the budget of all concurrent conversions, by default the memory that is available. ConfigError
    where two models have one destination or name.
    """
    set_defaults(home())
    check_distinct(models)
    budget = MemoryBudget(memory_bytes or available_bytes() or FALLBACK_MEMORY_BYTES)
    futures = convert_one_task.map([one.model for one in models], [one.spec for one in models], unmapped(budget))
    outcomes = _outcomes(models, futures)
    create_table_artifact(
        key="fleet", table=summary_rows(outcomes, resolve_tracking_uri()), description="The models of the fleet"
    )
    converted = sum(outcome.ok for outcome in outcomes)
    get_run_logger().info("%d of %d models converted", converted, len(outcomes))
    failure = fleet_failure(outcomes)
    if failure is not None:
        return Failed(message=str(failure), data=failure)  # type: ignore[return-value]
    return [outcome.plain() for outcome in outcomes]


def convert_one(model: str, spec: Spec, budget: MemoryBudget) -> dict[str, Any]:
    """Converts one model; an error of the model or of a server becomes its outcome."""
    try:
        needed = int(BYTES_PER_MODEL_BYTE * bytes_of(model))
        # Stages of several models at once would be told as those of one.
        with budget.reserve(needed), listening(SilentListener()):
            result = convert_model(model, spec)
    except AutocastError as error:
        found = getattr(error, "result", None)
        return ModelOutcome(model, False, str(error), error.exit_code, found.to_json() if found else None).plain()
    return ModelOutcome(model, True, result=result.to_json()).plain()


# The task has a name of its own: cloudpickle sends a function that its module holds under another name to a Dask worker
# by value, without the types of convert-model's parameters.
convert_one_task = task(name="convert-one", task_run_name="convert {model}", cache_policy=NO_CACHE)(convert_one)


def _outcomes(models: Sequence[FleetModel], futures: list[Any]) -> list[ModelOutcome]:
    """The outcomes of the tasks, in the models' order, with progress in the order in which they end."""
    with stage(_CONVERT):
        for done, _ in enumerate(as_completed(futures), 1):
            report(Progress(_CONVERT, done, len(futures), "models"))
    return [_outcome(one, future) for one, future in zip(models, futures, strict=True)]


def _outcome(one: FleetModel, future: Any) -> ModelOutcome:
    """The outcome of one model's task; a bug, or a machine that died, fails the task itself."""
    value = future.result(raise_on_failure=False)
    if isinstance(value, BaseException):
        return ModelOutcome(one.model, False, f"{type(value).__name__}: {one_line(value)}", 1)
    return ModelOutcome.from_json(value)


def summary_rows(outcomes: Sequence[ModelOutcome], tracking_uri: str) -> list[dict[str, Any]]:
    """One table row a model: its state, registered version, page in MLflow, output, and main metrics."""
    rows = []
    for outcome in outcomes:
        result = outcome.result or {}
        metrics, registered = result.get("metrics") or {}, result.get("registered")
        rows.append(
            {
                "model": outcome.model,
                "state": "converted" if outcome.ok else "failed",
                "registered": registered,
                "page": version_page(tracking_uri, registered) if registered else None,
                "output": result.get("output"),
                "run": result.get("run_id"),
                "low precision share": metrics.get("nodes/low_precision_share"),
                "relative error": metrics.get(WORST_REL_L2),
                "error": outcome.error,
            }
        )
    return rows
