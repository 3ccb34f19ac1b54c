"""`autocast demo`: the flow on the shipped classifier, which a naive FP16 conversion breaks."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json

HELP = """Convert a small digit classifier with the whole flow and compare it with a naive FP16 conversion.

Needs no server, no network and no credentials; the first start takes up to two minutes.
"""


def add_to(app: typer.Typer) -> None:
    app.command("demo", help=HELP)(demo)


def demo(as_json: Json = False) -> None:
    """Run the demo."""
    known: dict[str, str] = {}
    result = finish(lambda: run_demo(known), ("run_id", "metrics"), as_json, known)
    if not as_json:
        show(result)


def run_demo(known: MutableMapping[str, str]) -> Mapping[str, Any]:
    """The flow's result on the demo's materials; its metrics with ``demo/naive_top1`` added."""
    import sys

    from flows.cli.terminal.progress_bar import shown_progress
    from flows.demo import materials
    from flows.local.session import flow_session
    from flows.request.spec import Spec
    from tasks.progress import stage

    shipped = materials()
    spec = Spec(
        calibration=str(shipped.calibration),
        evaluation=str(shipped.evaluation),
        name="autocast-demo-fp16",
        batch_size=32,
        gates=("top1_drop<=0.01", "no_new_nonfinite"),
    )
    with shown_progress(known) as listener, flow_session(listener) as log:
        print(f"messages of Prefect and MLflow: {log}", file=sys.stderr)
        from flows.convert_model import convert_model
        from flows.demo.naive import naive_top1

        result = convert_model(str(shipped.model), spec).to_json()
        with stage("compare with naive FP16"):
            naive = naive_top1(shipped.model, shipped.evaluation)
    return {**result, "metrics": {**result["metrics"], "demo/naive_top1": naive}}


def show(result: Mapping[str, Any]) -> None:
    """The table, and where to look next."""
    from rich.console import Console
    from rich.table import Table

    from autocast_core.report.text import size
    from tasks.storage.model_registry import resolve_tracking_uri

    metrics = result["metrics"]
    accuracy = Table("model", "top-1 on held-out images", "measured on", title="Handwritten digits")
    accuracy.add_row("FP32", f"{metrics['task/top1_fp32']:.1%}", "ONNX Runtime")
    accuracy.add_row("naive FP16: every node", f"{metrics['demo/naive_top1']:.1%}", "simulation of 16-bit storage")
    accuracy.add_row("AutoCast Flow", f"{metrics['task/top1']:.1%}", "simulation of 16-bit storage")
    console = Console()
    console.print(accuracy)
    before, after = (int(metrics[f"model/bytes_{when}"]) for when in ("before", "after"))
    console.print(result["summary"], highlight=False)
    console.print(f"Size: {size(before)} before, {size(after)} after ({after / before:.0%})", highlight=False)
    console.print(f"Registered: {result['registered']}, alias candidate", highlight=False)
    print(f"Look at the run: uv run --no-dev mlflow ui --backend-store-uri {resolve_tracking_uri()}")
    print(f"then open http://127.0.0.1:5000, experiment autocast, run {result['run_id']}")
