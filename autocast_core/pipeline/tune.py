"""Searching a plan: from a file and budgets to the plan that meets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autocast_core.config import ConversionConfig
from autocast_core.evaluate import TaskMetric, load_metric
from autocast_core.model import ModelSource
from autocast_core.options import strings
from autocast_core.pipeline.job import Data, Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.search import request_of, search_stage
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.progress import ProgressCallback, silent
from autocast_core.search import FileTrials, SearchLimits, SearchResult

_DEFAULT = ConversionConfig()


def tune_file(
    src: ModelSource,
    evaluation: Data,
    budgets: Sequence[str],
    config: ConversionConfig = _DEFAULT,
    *,
    metric: str | TaskMetric | None = None,
    cost: str | None = None,
    max_trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    trials: str | Path | None = None,
    pareto: bool = False,
    progress: ProgressCallback = silent,
) -> SearchResult:
    """The smallest set of FP32 nodes with which the model at `src` meets every one of `budgets` over `evaluation`.

    `evaluation` is an .npz file, a folder of them, Polygraphy JSON, or arrays by input name, `labels` among them for
    budgets on accuracy; None: seeded random data. A budget is an expression as in ``sqnr_db>=40``, ``top1_drop<=0.001``
    (see autocast_core.evaluate.parse_gate). `metric` (``module:function`` or a TaskMetric) is what
    ``task_metric_ratio`` speaks of. Smallest is by `cost`: ``nodes``, ``weight_bytes``, ``traffic``
    (bytes that wider tensors and Casts move), ``time`` or ``time:DEVICE`` (of an engine, estimated); None: ``time``
    where TensorRT is installed and the time can be estimated, else ``nodes``. At most
    `max_trials` passes over the data are made, and none begun after `minutes`; `workers` run side by side. The file
    `trials` remembers what was measured, for a search that goes on after an interruption. With `pareto` the result's
    `front` has the plans of which none is both cheaper and more accurate than another.

    The result's `plan` makes the model: ``convert_file(src, dst, plan=result.plan)``. Its `certificate` has for each
    kept node the measurement without it. Raises ModelError, ConfigError and DataError for what cannot be read,
    GateError where not even the all-FP32 model meets the budgets.
    """
    own = load_metric(metric) if isinstance(metric, str) else metric
    stage = search_stage(
        request_of(strings("budgets", budgets), cost, own, pareto=pareto),
        SearchLimits(max_trials, minutes, workers),
        None if trials is None else FileTrials(Path(trials)),
    )
    job = Job(src, config, evaluation=evaluation, progress=progress)
    return run_stages((LOAD, SANITIZE, stage), in_this_process(job))[SearchResult]
