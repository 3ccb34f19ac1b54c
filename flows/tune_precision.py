"""The flow `tune-precision`: the smallest set of FP32 nodes with which a model meets its budgets."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prefect import flow, runtime

from autocast_core.errors import DataError, GateError
from autocast_core.evaluate import AskedGates
from autocast_core.evaluate.metric_names import NOISE_FLOOR, of_worst_output
from autocast_core.json_values import finite
from autocast_core.model.atomic import check_inputs_stay, check_plain
from autocast_core.pipeline.job import files_of_data
from autocast_core.pipeline.saved import JobRequest
from autocast_core.text import how_many
from flows.conversion.ending_states import gate_missed
from flows.conversion.tracked_run import (
    end_tracking_run,
    model_stem,
    remove_work_folder,
    tracked_run,
    work_folder,
)
from flows.local.environment import set_defaults
from flows.local.home import Home, home
from flows.request.policy import check_metric, check_plugins, check_runner_allowed, limits_for
from flows.request.spec import Spec
from tasks.isolation import isolation
from tasks.progress import stage
from tasks.shards.runner import LOCAL, Runner, opened_runner
from tasks.shards.shard_inputs import shard_inputs
from tasks.stages.conversion import call_task
from tasks.stages.fetch import fetch_data_task, fetch_model_task
from tasks.stages.search import Budgets, SearchFiles, Tuned, tune_caller
from tasks.stages.track import SOURCE_MODEL
from tasks.storage.data import FetchedData
from tasks.storage.local import model_files
from tasks.storage.models import Fetched
from tasks.tracking.descriptions import NOTE_TAG
from tasks.tracking.run_metrics import shown_metrics
from tasks.tracking.runs import RunRef, log, log_artifacts, log_dataset, note

_DEFAULT = Spec()
_RANKED = 10
"""Nodes in the report's table; attribution.json has all of them."""


@dataclass(frozen=True)
class TuningResult:
    """What `autocast tune --json` prints, and what a person reads beside it."""

    run_id: str
    kept_fp32: tuple[str, ...]
    metrics: Mapping[str, float]
    trials: int
    certificate: tuple[Mapping[str, Any], ...]
    plan: str
    summary: str
    measured: str = ""
    budgets: tuple[Mapping[str, Any], ...] = ()
    attribution: tuple[Mapping[str, Any], ...] = ()
    stopped: str | None = None
    proof: str = ""
    pareto: tuple[Mapping[str, Any], ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without NaN or infinity (None)."""
        plain: dict[str, Any] = finite(asdict(self))
        return plain


@dataclass(frozen=True)
class _Search:
    """What is asked, where the plan goes (None: below the home folder), and the seconds that stages have taken."""

    model: str
    budgets: Budgets
    spec: Spec
    plan: Path | None
    home: Home
    timings: MutableMapping[str, float]


def _run_name() -> str:
    return f"tune {model_stem(str(runtime.flow_run.parameters['model']))}"


@flow(
    name="tune-precision",
    flow_run_name=_run_name,
    result_serializer="json",
    on_completion=[remove_work_folder],
    on_failure=[remove_work_folder],
    on_cancellation=[remove_work_folder, end_tracking_run],
    on_crashed=[remove_work_folder, end_tracking_run],
)
def tune_precision(
    model: str, budgets: Budgets, spec: Spec = _DEFAULT, output: str | None = None, runner: str = LOCAL
) -> TuningResult:
    """Finds the smallest set of FP32 nodes with which the model at `model` meets `budgets` on the spec's evaluation
    data, else on its calibration data.

    The plan is written to `output` (a .json file, or a folder that receives plan.json; default: below the home folder)
    and kept in the tracking run, in which each trial is a step. An interrupted search goes on where it stood. GateError
    where not even all-FP32 meets the budgets: the flow run ends as GateMissed. `runner` says who measures trials side
    by side (see tasks.shards.runner); the plan is the same, to the last bit. InputError and ServiceError as their
    messages say.
    """
    where = home()
    set_defaults(where)
    plan = None
    if output is not None:
        plan = Path(output) if output.endswith(".json") else Path(output) / "plan.json"
    deployed = runtime.deployment.id is not None
    check_plugins(spec, deployed=deployed)
    check_metric(budgets.metric, deployed=deployed)
    check_runner_allowed(runner, deployed=deployed)
    search = _Search(model, budgets, spec, plan, where, {})
    tags = {"autocast.source": model, "autocast.precision": spec.precision, "autocast.flow": "tune-precision"}
    name = f"tune {model_stem(model)}-{spec.precision_in_names}"
    try:
        with (
            opened_runner(runner) as opened,
            isolation(limits_for(spec, deployed=deployed)),
            tracked_run(where, name, _parameters(search), tags, search.timings) as run,
        ):
            return _tuned(search, run, opened)
    except GateError as error:
        return gate_missed(error)  # type: ignore[return-value]


def _parameters(search: _Search) -> dict[str, str]:
    asked = {key: str(value) for key, value in asdict(search.budgets).items() if value is not None}
    asked["expressions"] = json.dumps(search.budgets.expressions)
    return {"model": search.model, **search.spec.flat(), **{f"tune.{key}": value for key, value in asked.items()}}


def _tuned(search: _Search, run: RunRef, runner: Runner) -> TuningResult:
    spec, timings, home = search.spec, search.timings, search.home
    uri = spec.evaluation or spec.calibration
    if uri is None and not spec.allow_random:
        raise DataError("a search needs data: give --evaluation, or allow_random in the spec for seeded random data")
    with stage("fetch", timings):
        source = fetch_model_task(search.model, home.cache)
        data = fetch_data_task(uri, home.cache) if uri else None
    if search.plan is not None:
        check_plain(search.plan)
        check_inputs_stay((search.plan,), (*model_files(source.ref.path), *files_of_data(data.path if data else None)))
    request = JobRequest(
        source.ref,
        spec.config(),
        work_folder(home),
        evaluation=data.path if data else None,
        allow_nonfinite=spec.allow_nonfinite,
    )
    inputs = shard_inputs(source, uri, data, request.config, spec.allow_nonfinite)
    with stage("sanitize", timings):
        sanitized: Any = call_task("sanitize", request, (source.ref,))
    root, name = home.root.absolute(), f"{source.stem}-{spec.precision_in_names}"
    files = SearchFiles(
        root / "trials" / f"{source.ref.digest[:16]}-{spec.precision_in_names}.jsonl",
        search.plan or root / "tune" / name / "plan.json",
        _options(search),
    )
    with stage("search", timings):
        tuned = tune_caller(runner, inputs)(request, sanitized, search.budgets, files, run)
    with stage("track", timings):
        _track(search, run, source, data, tuned)
    return TuningResult(
        run_id=run.run_id,
        kept_fp32=tuned.kept_fp32,
        metrics=tuned.metrics,
        trials=tuned.trials,
        certificate=tuned.certificate,
        plan=str(tuned.plan),
        summary=tuned.summary,
        measured=measured(spec, tuned),
        budgets=tuned.budgets,
        attribution=tuned.attribution,
        stopped=tuned.stopped,
        proof=tuned.proof(),
        pareto=tuned.pareto,
        timings=timings,
    )


def _options(search: _Search) -> str | None:
    """The spec's text that measures as this search does, for `autocast validate`; None where defaults do."""
    elsewhere = {"evaluation", "calibration", "output", "name", "gates", "precision"}
    asked = search.spec.model_dump(mode="json", exclude_defaults=True, exclude=elsewhere)
    if search.budgets.metric is not None:
        asked["metric"] = search.budgets.metric
    said = {text.partition(":")[0].strip() for text in search.spec.judges}
    named = AskedGates(search.budgets.expressions).judges
    if unsaid := [judge for judge in named if judge not in said]:
        asked["judges"] = [*search.spec.judges, *unsaid]
    # JSON is YAML.
    return json.dumps(asked, indent=1, sort_keys=True) + "\n" if asked else None


def _track(search: _Search, run: RunRef, source: Fetched, data: FetchedData | None, tuned: Tuned) -> None:
    kind = "evaluation" if search.spec.evaluation else "calibration" if data else "random"
    tags = {
        "autocast.source": source.uri_pinned,
        "autocast.source_sha256": source.ref.digest,
        "autocast.evaluation_data": kind,
        "autocast.backend": "simulation",
        "autocast.gate": "passed" if all(budget["passed"] for budget in tuned.budgets) else "failed",
        NOTE_TAG: note(report(tuned, search.spec)),
    }
    log(run, metrics=shown_metrics(tuned.metrics), tags=tags)
    log_dataset(run, SOURCE_MODEL, source.uri_pinned, source.ref.digest, SOURCE_MODEL)
    if data is not None:
        log_dataset(run, kind, search.spec.evaluation or search.spec.calibration or "", data.digest, kind)
    columns = ("id", "op_type", "share", "local", "overflow", "underflow")
    tables = {"attribution.json": {name: [row[name] for row in tuned.attribution] for name in columns}}
    figures = {}
    if tuned.pareto:
        from autocast_core.report.figures.pareto_plot import pareto_plot

        tables["pareto.json"] = {name: [row[name] for row in tuned.pareto] for name in tuned.pareto[0]}
        figures["pareto.png"] = pareto_plot(tuned.pareto)
    log_artifacts(
        run,
        texts={
            "summary.md": report(tuned, search.spec),
            "certificate.json": json.dumps(finite(tuned.certificate), indent=1),
        },
        tables=tables,
        figures=figures,
        files={
            "plan.json": tuned.plan,
            **{f"pareto/{Path(row['plan']).name}": Path(row["plan"]) for row in tuned.pareto},
        },
    )


def measured(spec: Spec, tuned: Tuned) -> str:
    """On what and how the search measured, and below which error no measurement says anything."""
    data = "seeded random data"
    if spec.evaluation:
        data = f"evaluation data {spec.evaluation}"
    elif spec.calibration:
        data = f"calibration data {spec.calibration} (no evaluation data was given)"
    digest = f", sha256 {tuned.digest}" if spec.evaluation or spec.calibration else ""
    floor = tuned.metrics.get(of_worst_output("sqnr_db", NOISE_FLOOR))
    noise = "" if floor is None else f" Noise floor, FP32 against FP32 without graph optimisation: {floor:.4g} dB SQNR."
    return f"Measured in simulation over {tuned.batches} batches of {data}{digest}.{noise}"


def report(tuned: Tuned, spec: Spec) -> str:
    """The search in words, as Markdown: what is kept and why, with the command that measures each reason again."""
    lines = [
        f"# {tuned.summary}",
        "",
        f"{how_many(len(tuned.kept_fp32), 'node')} kept in FP32 after {how_many(tuned.trials, 'evaluation')}"
        + (f"; ended early: {tuned.stopped}." if tuned.stopped else f"; {tuned.proof()}."),
        "",
        *(
            f"- {budget['expression']}: {budget['value']:.6g}"
            for budget in tuned.budgets
            if budget["value"] is not None
        ),
        "",
        measured(spec, tuned),
        "",
    ]
    ranked = [row for row in tuned.attribution[:_RANKED] if row["share"] > 0]
    if ranked:
        lines += ["Where the error of the fully lowered model enters:", ""]
        lines += ["| node | operator | share | local error | overflows | underflows |", "|---|---|---|---|---|---|"]
        lines += [
            f"| `{row['id']}` | {row['op_type']} | {row['share']:.2%} | {row['local']:.3g} | {row['overflow']}"
            f" | {row['underflow']} |"
            for row in ranked
        ]
        lines.append("")
    if tuned.pareto:
        lines += [
            f"Accuracy against cost ({tuned.pareto[0]['unit']}):",
            "",
            "| point | FP32 nodes | cost | SQNR (dB) |",
        ]
        lines += ["|---|---|---|---|"]
        lines += [
            f"| `{Path(row['plan']).name}` | {row['kept_fp32']} | {row['cost']:,.0f} | {row['sqnr_db']:.2f} |"
            for row in tuned.pareto
        ]
        lines.append("")
    shares = {row["id"].removeprefix("graph/"): row["share"] for row in tuned.attribution}
    for entry in tuned.certificate:
        failing = "; ".join(f"{gate['expression']} fails: {gate['reason']}" for gate in entry["failing"])
        failing = failing or "every budget is met and nothing saved"
        share = f", {shares[entry['node']]:.1%} of the error" if entry["node"] in shares else ""
        lines += [
            f"- `{entry['node']}`{share}: {entry['price']}. Lowered too, {failing}. Check it:",
            f"  `{entry['command']}`",
        ]
    return "\n".join(lines) + "\n"
