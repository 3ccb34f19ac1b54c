"""`autocast run`: the flow convert-model in this process."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.terminal.output import finish, say
from flows.cli.terminal.shared_options import (
    Calibration,
    Device,
    FP32Engine,
    Json,
    Judges,
    Metric,
    Precisions,
    SourceModel,
    SpecFile,
)

KEYS = (
    "run_id",
    "source",
    "output",
    "source_sha256",
    "output_sha256",
    "plan",
    "metrics",
    "gates",
    "registered",
    "timings",
    "warnings",
)
HELP = """Convert a model: fetch, sanitize, calibrate, decide, apply, verify, evaluate, validate, track, publish.

Examples:

  autocast run model.onnx --calibration data.npz

  autocast run s3://models/resnet.onnx --evaluation s3://data/val/ --output s3://models/fp16/ --name resnet-fp16

  autocast run models:/resnet/3 --spec spec.yaml --precision bf16 --json

  autocast run model.onnx --calibration data.npz --precision bf16 --target tensorrt

  autocast run model.onnx --dry-run

The run, its plan and the converted model are kept in MLflow (MLFLOW_TRACKING_URI; by default .autocast/mlflow.db).
"""


def add_to(app: typer.Typer) -> None:
    app.command("run", help=HELP)(run)


def run(
    model: SourceModel,
    calibration: Calibration = None,
    evaluation: Annotated[str | None, typer.Option(help="Evaluation data, in the same forms.")] = None,
    spec: SpecFile = None,
    precision: Precisions = None,
    output: Annotated[str | None, typer.Option(help="FILE.onnx, a folder or an s3:// prefix.")] = None,
    name: Annotated[str | None, typer.Option(help="Registered name of the converted model.")] = None,
    metric: Metric = None,
    judge: Judges = None,
    recipe: Annotated[
        str | None, typer.Option(help="What was learnt about the model's family: a recipe's name, or its file.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Engine to fit the plan to: tensorrt.")] = None,
    device: Device = None,
    fp32_engine: FP32Engine = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after the plan; write and register nothing.")
    ] = False,
    runner: Annotated[
        str, typer.Option(help="Calibrates and evaluates: local, or workers of dask, dask=ADDRESS, ray or ray=ADDRESS.")
    ] = "local",
    as_json: Json = False,
) -> None:
    """Convert a model."""
    given = {
        "calibration": calibration,
        "evaluation": evaluation,
        "precision": precision,
        "output": output,
        "name": name,
        "recipe": recipe,
        "target": target,
        "metric": metric,
        "device": device,
        "fp32_engine": fp32_engine,
        "judges": judge or None,
    }
    known: dict[str, str] = {}
    result = finish(lambda: convert(model, spec, given, dry_run, known, runner), KEYS, as_json, known)
    if not as_json:
        show(result)


def convert(
    model: str,
    spec_file: Path | None,
    given: Mapping[str, Any],
    dry_run: bool,
    known: MutableMapping[str, str],
    runner: str = "local",
) -> Mapping[str, Any]:
    """Runs the flow on `model`; what can be judged without it is judged before anything is started.

    `known` receives the id of the run as soon as there is one.
    """
    import sys

    from flows.cli.terminal.progress_bar import shown_progress
    from flows.local.session import flow_session
    from flows.request.policy import check_file_code
    from flows.request.preflight import check_inputs, check_request
    from flows.request.spec import load_spec
    from tasks.shards.runner import check_runner
    from tasks.tracking.package_versions import clash

    if warning := clash():
        print(f"warning: {warning}", file=sys.stderr)
    spec = load_spec(spec_file, given)
    check_request(model, spec)
    check_file_code(spec_file, spec, given.get("metric"))
    if spec.metric:
        from autocast_core.evaluate import load_metric

        load_metric(spec.metric)
    check_inputs(model, spec, judged=not dry_run)
    check_runner(runner)
    with shown_progress(known) as listener, flow_session(listener, tracking=not dry_run) as log:
        print(f"messages of Prefect and MLflow: {log}", file=sys.stderr)
        from flows.convert_model import convert_model

        return convert_model(model, spec, dry_run, runner).to_json()


def show(result: Mapping[str, Any]) -> None:
    """What a person wants to know at the end."""
    from flows.cli.terminal.tables import change_rows, gate_rows, print_table

    print_table("Gates", ("gate", "measured", "result", "why"), gate_rows(result["gates"]))
    print_table("Before and after", ("", "before", "after", "measured on"), change_rows(result["metrics"]))
    say(result["summary"])
    if result["repaired"]:
        say(result["repaired"])
    for warning in result["warnings"]:
        say(f"warning: {warning}")
    if result["reused"]:
        say("an equal conversion was done before: this is its result")
    for label, key in (("run", "run_id"), ("output", "output"), ("registered", "registered")):
        if result[key]:
            say(f"{label}: {result[key]}")
