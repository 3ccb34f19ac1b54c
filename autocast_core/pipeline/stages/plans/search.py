"""Search: the smallest set of FP32 nodes with which the model meets its budgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from autocast_core.evaluate import TaskMetric
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import Stage
from autocast_core.pipeline.stages.upgrade_check import check_upgrade
from autocast_core.search import SearchLimits, SearchRequest, SearchResult, SearchSubject, TrialStore, search
from autocast_core.search.costs.estimated_time import TIME
from autocast_core.search.costs.set_costs import NODES
from autocast_core.search.trials import TrialListener, no_listener
from autocast_core.version import VERSION


def request_of(
    budgets: Sequence[str], cost: str | None = None, metric: TaskMetric | None = None, *, pareto: bool = False
) -> SearchRequest:
    """What a search is asked, where `cost` None is the estimated time where TensorRT is installed, and the number of
    nodes elsewhere and for models of which no time can be estimated. ConfigError for an unknown cost."""
    if cost is not None:
        return SearchRequest(tuple(budgets), cost, metric, pareto)
    from autocast_core.backends.tensorrt.validate import is_installed

    return SearchRequest(tuple(budgets), TIME if is_installed() else NODES, metric, pareto, else_cost=NODES)


def search_stage(
    request: SearchRequest,
    limits: SearchLimits,
    trials: TrialStore | None = None,
    listener: TrialListener = no_listener,
) -> Stage:
    """The stage that searches as asked, over the job's evaluation data, else over its calibration data.

    What `trials` holds is not measured again; `listener` gets each trial. Raises as autocast_core.search.search.
    """

    def run(job: Job, sanitized: SanitizedSource) -> SearchResult:
        original = job.reference()
        batches = job.batches(original, job.evaluation or job.calibration)
        check_upgrade(job, sanitized, batches)
        found = search(
            SearchSubject(
                sanitized.model, batches, job.runtime, job.config, original, sanitized.changes, job.allow_nonfinite
            ),
            request,
            limits,
            trials_store=trials,
            listener=listener,
            progress=job.progress,
        )
        front = tuple(replace(each, plan=structs.replace(each.plan, engine_version=VERSION)) for each in found.front)
        return replace(found, plan=structs.replace(found.plan, engine_version=VERSION), front=front)

    return Stage("search", run, (SanitizedSource,), SearchResult)
