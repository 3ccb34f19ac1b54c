"""`autocast tune`: the flow tune-precision in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from autocast_core.text import how_many
from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import Json, Judges, Metric, Precisions, SourceModel, SpecFile
from flows.cli.terminal.tables import print_table

KEYS = ("kept_fp32", "metrics", "trials", "certificate", "plan")
HELP = """Find the smallest set of FP32 nodes with which a model meets its budgets, and show why each is needed.

Examples:

  autocast tune model.onnx --evaluation data.npz --budget 'sqnr_db>=40'

  autocast tune model.onnx --evaluation val/ --budget 'top1_drop<=0.001' --budget no_new_nonfinite --minutes 30

  autocast plan apply .autocast/tune/model-fp16/plan.json model.onnx model.fp16.onnx

Measured in simulation: 16-bit storage, FP32 accumulation. An interrupted search resumes where it stopped.
"""


def add_to(app: typer.Typer) -> None:
    app.command("tune", help=HELP)(tune)


def tune(
    model: SourceModel,
    budget: Annotated[list[str], typer.Option(help="A gate to meet, for example 'sqnr_db>=40'; may be repeated.")],
    evaluation: Annotated[
        str | None, typer.Option(help="Evaluation data: .npz, folder of them; `labels` in it for top1 budgets.")
    ] = None,
    metric: Metric = None,
    judge: Judges = None,
    max_trials: Annotated[int | None, typer.Option(help="Maximum number of evaluations.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Start no evaluation after this many minutes.")] = None,
    minimize: Annotated[
        str | None,
        typer.Option(
            help="Which cost of nodes in FP32 to minimize: time (default with TensorRT), time:DEVICE, traffic,"
            " weight_bytes or nodes (default without)."
        ),
    ] = None,
    pareto: Annotated[bool, typer.Option("--pareto", help="Measure the front of accuracy against cost, too.")] = False,
    workers: Annotated[int, typer.Option(help="Number of evaluations to run concurrently.")] = 1,
    spec: SpecFile = None,
    precision: Precisions = None,
    output: Annotated[str | None, typer.Option(help="Where the plan goes: FILE.json or a folder.")] = None,
    runner: Annotated[
        str, typer.Option(help="What measures: local, or the workers of dask, dask=ADDRESS, ray or ray=ADDRESS.")
    ] = "local",
    as_json: Json = False,
) -> None:
    """Find the smallest set of FP32 nodes."""
    asked = {
        "metric": metric,
        "max_trials": max_trials,
        "minutes": minutes,
        "cost": minimize,
        "workers": workers,
        "pareto": pareto,
    }
    given = {"evaluation": evaluation, "precision": precision, "judges": judge or None}
    keys = (*KEYS, "pareto") if pareto else KEYS
    result = finish(lambda: tuned(model, tuple(budget), asked, spec, given, output, runner), keys, as_json)
    if not as_json:
        show(result)


def tuned(
    model: str,
    budgets: tuple[str, ...],
    asked: Mapping[str, Any],
    spec_file: Path | None,
    given: Mapping[str, Any],
    output: str | None,
    runner: str = "local",
) -> Mapping[str, Any]:
    """Runs the flow on `model`, after checking everything that can be checked without starting it."""
    import sys

    from autocast_core.evaluate import parse_gate
    from autocast_core.search import load_metric
    from autocast_core.search.request import check_cost
    from flows.cli.terminal.progress_bar import shown_progress
    from flows.local.session import flow_session
    from flows.request.policy import check_file_code
    from flows.request.preflight import check_inputs, check_request
    from flows.request.spec import load_spec
    from tasks.shards.runner import check_runner

    if asked["cost"] is not None:
        check_cost(asked["cost"])
    for expression in budgets:
        parse_gate(expression)
    spec = load_spec(spec_file, {**given, "metric": asked["metric"]})
    check_file_code(spec_file, spec, asked["metric"])
    if spec.metric:
        load_metric(spec.metric)
    check_request(model, spec)
    check_inputs(model, spec, judged=False)
    check_runner(runner)
    with shown_progress({}) as listener, flow_session(listener) as log:
        print(f"messages of Prefect and MLflow: {log}", file=sys.stderr)
        from flows.tune_precision import tune_precision
        from tasks.stages.search import Budgets

        search = Budgets(budgets, **{**asked, "metric": spec.metric})
        return tune_precision(model, search, spec, output, runner).to_json()


def show(result: Mapping[str, Any]) -> None:
    """Prints the result for people."""
    say(result["summary"])
    for budget in result["budgets"]:
        say(f"budget {budget['expression']}: {'met' if budget['passed'] else 'missed'} ({budget['value']})")
    say(result["measured"])
    kept, stopped = len(result["kept_fp32"]), result["stopped"]
    ending = f"ended early: {stopped}" if stopped else result["proof"]
    counts = f"{how_many(kept, 'node')} kept in FP32 after {how_many(result['trials'], 'evaluation')}"
    say(f"{counts}; {ending if kept else 'none is needed'}")
    shares = {row["id"].removeprefix("graph/"): row["share"] for row in result["attribution"]}
    certified = {entry["node"]: entry for entry in result["certificate"]}
    for name in result["kept_fp32"]:
        share = f" ({shares[name]:.1%} of the error)" if name in shares else ""
        say(f"- {name}{share}")
        if name in certified:
            for gate in certified[name]["failing"]:
                say(f"    lowered too: {gate['expression']} fails: {gate['reason']}")
            say(f"    it {certified[name]['price']}")
            say(f"    check it: {certified[name]['command']}")
    if result["pareto"]:
        rows = [
            (str(row["number"]), str(row["kept_fp32"]), f"{row['cost']:,.0f}", f"{row['sqnr_db']:.2f}", row["plan"])
            for row in result["pareto"]
        ]
        cost = f"cost ({result['pareto'][0]['unit']})"
        print_table("Accuracy against cost", ("point", "FP32 nodes", cost, "SQNR (dB)", "plan"), rows)
    say(f"plan: {result['plan']}")
    say(f"run: {result['run_id']}")
