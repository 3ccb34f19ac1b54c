"""From a file and budgets to the plan that meets them: the stages of a search in order, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import structs

from autocast_core.config import ConversionConfig
from autocast_core.evaluate import TaskMetric, load_metric
from autocast_core.pipeline.convert import check_upgrade, data_batches, engine_version, open_runtime
from autocast_core.progress import ProgressCallback, silent
from autocast_core.sanitize import sanitize
from autocast_core.search import (
    FileTrials,
    MemoryTrials,
    SearchLimits,
    SearchRequest,
    SearchResult,
    SearchSubject,
    search,
)
from autocast_core.verify import load_checked

_DEFAULT = ConversionConfig()


def tune_file(
    src: str | Path,
    evaluation: str | Path | Mapping[str, Any] | None,
    budgets: Sequence[str],
    config: ConversionConfig = _DEFAULT,
    *,
    metric: str | TaskMetric | None = None,
    cost: str = "nodes",
    max_trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    trials: str | Path | None = None,
    progress: ProgressCallback = silent,
) -> SearchResult:
    """The smallest set of FP32 nodes with which the model at `src` meets every one of `budgets` over `evaluation`.

    `evaluation` is an .npz file, a folder of them, Polygraphy JSON, or arrays by input name, `labels` among them for
    budgets on accuracy; None: seeded random data. A budget is an expression as in ``sqnr_db>=40``, ``top1_drop<=0.001``
    (see autocast_core.evaluate.parse_gate). `metric` (``module:function`` or a TaskMetric) is what
    ``task_metric_ratio`` speaks of. Smallest is by `cost`: ``nodes`` or ``weight_bytes``. At most `max_trials` passes
    over the data are made, and none begun after `minutes`; `workers` run side by side. The file `trials` remembers what
    was measured, for a search that goes on after an interruption.

    The result's `plan` makes the model: ``convert_file(src, dst, plan=result.plan)``. Its `certificate` has for each
    kept node the measurement without it. Raises ModelError, ConfigError and DataError for what cannot be read,
    GateError where not even the all-FP32 model meets the budgets.
    """
    own = load_metric(metric) if isinstance(metric, str) else metric
    request, limits = SearchRequest(tuple(budgets), cost, own), SearchLimits(max_trials, minutes, workers)
    source, runtime = load_checked(src), open_runtime(config)
    sanitized = sanitize(source, config)
    batches = data_batches(source, config, evaluation)
    if sanitized.opset_changed:
        check_upgrade(source, sanitized.model, batches, runtime)
    found = search(
        SearchSubject(sanitized.model, batches, runtime, config, source, sanitized.changes),
        request,
        limits,
        trials_store=MemoryTrials() if trials is None else FileTrials(Path(trials)),
        progress=progress,
    )
    return replace(found, plan=structs.replace(found.plan, engine_version=engine_version()))
