"""Stage: the search for the smallest set of FP32 nodes that meets a budget."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from autocast_core.errors import OutputError
from autocast_core.evaluate import AskedGates
from autocast_core.evaluate.metric_names import NOISE_FLOOR, of_worst_output, of_worst_outputs
from autocast_core.model.reference import ModelRef
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.saved import JobRequest, SavedSanitized, load_saved
from autocast_core.search.measure import PlanMeasurer
from autocast_core.search.trials import Trial, TrialListener
from tasks.isolation import isolated
from tasks.progress import report
from tasks.shards.runner import LocalRunner, Runner
from tasks.shards.shard_inputs import ShardInputs
from tasks.shards.trials import trial_measurer
from tasks.tracking.runs import RunRef
from tasks.tracking.trial_log import log_trial

if TYPE_CHECKING:
    from autocast_core.search import CertificateEntry, SearchResult

CERTIFICATE = "certificate"
PARETO = "pareto"
ROOT = "graph/"


@dataclass(frozen=True)
class Budgets:
    """What a search is to reach, and how much it may cost; see autocast_core.search.search."""

    expressions: tuple[str, ...]
    metric: str | None = None
    cost: str | None = None
    max_trials: int | None = None
    minutes: float | None = None
    workers: int = 1
    pareto: bool = False


@dataclass(frozen=True)
class SearchFiles:
    """Where a search keeps what it measured and writes its plan.

    What the file `trials` holds is not measured again. `options` is the text of a spec with which a certificate entry
    is measured again as the search did; None where defaults do.
    """

    trials: Path
    plan: Path
    options: str | None = None


@dataclass(frozen=True)
class Tuned:
    """What a search found: the plan's file, the kept nodes' names, metrics, evaluations, one certificate entry a kept
    node, and which limit ended it early."""

    plan: Path
    summary: str
    kept_fp32: tuple[str, ...]
    metrics: Mapping[str, float]
    trials: int
    certificate: tuple[Mapping[str, Any], ...]
    budgets: tuple[Mapping[str, Any], ...]
    attribution: tuple[Mapping[str, Any], ...]
    digest: str
    batches: int
    stopped: str | None = None
    pareto: tuple[Mapping[str, Any], ...] = ()

    def proof(self) -> str:
        """What a whole certificate shows of the kept nodes."""
        if all(entry["failing"] for entry in self.certificate):
            return "none of them can be lowered alone"
        return "lowering any of them misses a budget or saves nothing"


def tune_model(
    request: JobRequest, sanitized: SavedSanitized, budgets: Budgets, files: SearchFiles, run: RunRef
) -> Tuned:
    """As `search_plan`, with every trial logged to `run`."""
    return _search(request, sanitized, budgets, files, callback=_logger(run))


def tune_caller(runner: Runner, inputs: ShardInputs | None) -> Callable[..., Tuned]:
    """What searches as a task, called as `tune_model`. Where `runner` is not this process, trials that run side by side
    are its shards; `inputs` is what its workers read (None: there is no data)."""
    if isinstance(runner, LocalRunner) or inputs is None:
        return tune_task

    @task(name="tune")
    def tune(
        request: JobRequest, sanitized: SavedSanitized, budgets: Budgets, files: SearchFiles, run: RunRef
    ) -> Tuned:
        elsewhere = trial_measurer(runner, inputs, budgets.metric, AskedGates(budgets.expressions).judges)
        wide = replace(budgets, workers=max(budgets.workers, runner.workers))
        return search_plan(request, sanitized, wide, files, elsewhere=elsewhere, callback=_logger(run))

    return tune


def _logger(run: RunRef) -> TrialListener:
    def log_to_run(trial: Trial) -> None:
        log_trial(run, trial.number, trial.kept, trial.metrics, trial.error)

    return log_to_run


def search_plan(
    request: JobRequest,
    sanitized: SavedSanitized,
    budgets: Budgets,
    files: SearchFiles,
    *,
    elsewhere: PlanMeasurer | None = None,
    callback: TrialListener,
) -> Tuned:
    """Searches, writes the plan and one plan for each certificate entry beside it, and passes each trial to `callback`.

    Without data, on seeded random data. Raises as autocast_core.search.search.
    """
    from autocast_core.pipeline.stages.plans.search import request_of, search_stage
    from autocast_core.search import FileTrials, SearchLimits, load_metric

    job = request.job(report)
    stage = search_stage(
        request_of(
            budgets.expressions,
            budgets.cost,
            load_metric(budgets.metric) if budgets.metric else None,
            pareto=budgets.pareto,
        ),
        SearchLimits(budgets.max_trials, budgets.minutes, budgets.workers, elsewhere),
        FileTrials(files.trials),
        callback,
    )
    found: SearchResult = stage.run(job, load_saved(job, SanitizedSource, sanitized))
    return _written(found, files, request.source, request.evaluation or request.calibration)


_search = isolated(search_plan, Tuned, Trial)


def _written(found: SearchResult, files: SearchFiles, source: ModelRef, data: Path | None) -> Tuned:
    from dataclasses import asdict

    from autocast_core.decide.rules import SEARCH

    plan, path, options = found.plan, files.plan, files.options
    entries = []
    metric = json.loads(options).get("metric") if options else None
    spec = None if options is None else path.parent / CERTIFICATE / f"{path.stem}.spec.yaml"
    if spec is not None and options is not None and found.certificate:
        _write(spec, options)
    for number, entry in enumerate(found.certificate, 1):
        lowered = plan.with_precisions(
            dict.fromkeys(entry.lowered, plan.precision), SEARCH.name, f"lowered to show that {entry.node} is needed"
        )
        file = path.parent / CERTIFICATE / f"{path.stem}.{number:02d}.json"
        _write(file, lowered.to_json())
        entries.append(_entry(entry, file, recheck(file, source.path, data, spec, metric)))
    _write(path, plan.to_json())
    metrics = {
        **found.metrics,
        **{
            of_worst_output(name.rpartition("/")[2], NOISE_FLOOR): value
            for name, value in of_worst_outputs(found.noise_floor).items()
        },
        **plan.counts().metrics(),
        "search/evaluations": found.evaluations,
        "search/kept_fp32": len(found.kept_fp32),
        "search/complete": float(found.complete),
    }
    return Tuned(
        plan=path,
        summary=plan.summary(),
        kept_fp32=tuple(_name(node) for node in found.kept_fp32),
        metrics=metrics,
        trials=found.evaluations,
        certificate=tuple(entries),
        budgets=tuple(asdict(result) for result in found.budgets),
        attribution=tuple(node.to_json() for node in found.attribution.nodes),
        digest=str(plan.data.digest),
        batches=plan.data.batches,
        stopped=found.stopped,
        pareto=_front(found, path),
    )


def _front(found: SearchResult, plan: Path) -> tuple[Mapping[str, Any], ...]:
    """Writes the plan of each point of the front beside `plan`; a row for each, the cheapest first."""
    rows = []
    for number, point in enumerate(found.front, 1):
        file = plan.parent / PARETO / f"{plan.stem}.{number:02d}.json"
        _write(file, point.plan.to_json())
        rows.append(
            {
                "number": number,
                "kept_fp32": len(point.kept_fp32),
                "cost": point.cost,
                "unit": point.unit,
                "sqnr_db": point.sqnr_db,
                "plan": str(file),
            }
        )
    return tuple(rows)


def _write(path: Path, text: str) -> None:
    from autocast_core.model.atomic import write_whole

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be made ({error.strerror}): give another --output") from error
    write_whole(path, text.encode())


def _entry(entry: CertificateEntry, plan: Path, command: str) -> dict[str, Any]:
    return {
        "node": _name(entry.node),
        "lowered": [_name(node) for node in entry.lowered],
        "failing": [{"expression": g.expression, "value": g.value, "reason": g.reason} for g in entry.failing],
        "metrics": dict(entry.metrics),
        "error": entry.error,
        "costs": entry.costs,
        "unit": entry.unit,
        "buys_db": entry.buys_db,
        "price": entry.price(),
        "plan": str(plan),
        "command": command,
    }


def recheck(plan: Path, model: Path, data: Path | None, spec: Path | None = None, metric: str | None = None) -> str:
    """The commands that print a certificate entry's plan out as a model and measure that."""
    output = plan.with_suffix(".onnx")
    apply: Sequence[str] = ("autocast", "plan", "apply", str(plan), str(model), str(output))
    judge = ["autocast", "validate", str(output), "--reference", str(model), "--on", "simulation"]
    if data is not None:
        judge += ["--evaluation", str(data)]
    if spec is not None:
        judge += ["--spec", str(spec)]
    if metric is not None:
        judge += ["--metric", metric]
    return f"{shlex.join(apply)} && {shlex.join(judge)}"


def _name(node_id: str) -> str:
    """A node's name; of a node in a body, its path from the main graph on."""
    return node_id.removeprefix(ROOT)


tune_task = task(name="tune")(tune_model)
