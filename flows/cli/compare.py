"""`autocast compare`: what differs between two conversions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.terminal.output import finish
from flows.cli.terminal.shared_options import Json

if TYPE_CHECKING:
    from autocast_core.report.pages.comparison_page import Difference, Side

KEYS = ("runs", "settings", "metrics", "nodes", "html")
HELP = """Compare two conversions: settings, metrics, and which nodes are decided differently and why.

Each is a run's id, or a registered version.

Example:

  autocast compare 4c6b1f… models:/resnet-fp16/3 --html difference.html
"""
Run = Annotated[str, typer.Argument(help="A run's id, models:/NAME/VERSION or models:/NAME@ALIAS.")]
_SHOWN = 60


def add_to(app: typer.Typer) -> None:
    app.command("compare", help=HELP)(compare)


def compare(
    run_a: Run,
    run_b: Run,
    html: Annotated[Path | None, typer.Option(help="Also write the comparison as one HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two conversions."""
    result = finish(lambda: compared(run_a, run_b, html), KEYS, as_json)
    if not as_json:
        show(result["difference"])
        if html is not None:
            print(f"page: {html}")


def compared(run_a: str, run_b: str, html: Path | None) -> Mapping[str, Any]:
    """Reads both runs and compares them."""
    from autocast_core.errors import OutputError
    from autocast_core.report.pages.comparison_page import compare_runs, comparison_page
    from flows.local.session import reading_session

    with reading_session():
        difference = compare_runs(_side(run_a), _side(run_b))
    if html is not None:
        try:
            html.write_text(comparison_page(difference), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{html}: cannot be written ({error.strerror}): give another --html") from error
    return {
        "runs": [difference.before.run_id, difference.after.run_id],
        "settings": [asdict(each) for each in difference.settings],
        "metrics": [{**asdict(each), "change": each.change} for each in difference.metrics],
        "nodes": [asdict(each) for each in difference.nodes],
        "html": str(html) if html is not None else None,
        "difference": difference,
    }


def _side(which: str) -> Side:
    from autocast_core.evaluate.metric_names import with_current_names
    from autocast_core.plan import PrecisionPlan
    from autocast_core.report.pages.comparison_page import Side
    from tasks.storage.model_registry import resolve_tracking_uri
    from tasks.tracking.reading import read_artifact, read_run, read_version

    tracking = resolve_tracking_uri()
    run_id = read_version(tracking, which).run_id if which.startswith("models:/") else which.removeprefix("runs:/")
    run = read_run(tracking, str(run_id))
    plan = PrecisionPlan.from_json(read_artifact(tracking, run, "plan.json"))
    tags = {name: run.tags[name] for name in ("autocast.source_sha256", "autocast.version") if name in run.tags}
    return Side(run.run_id, run.name, {**run.params, **tags}, with_current_names(run.metrics), plan)


def _headlines_first(name: str) -> tuple[int, str]:
    """The order of metrics where only the first are shown: what was converted and how well, then each output."""
    heads = ("nodes/", "casts/", "model/", "task/", "fidelity", "engine/", "fusion/", "tensorrt/")
    return next((place for place, head in enumerate(heads) if name.startswith(head)), len(heads)), name


def show(difference: Difference) -> None:
    """Prints the difference as tables, worded as the page."""
    from autocast_core.report.text import number, shown
    from flows.cli.terminal.tables import print_table

    print_table(
        "Settings",
        ("setting", "first", "second"),
        [(each.name, shown(each.before), shown(each.after)) for each in difference.settings],
        _SHOWN,
    )
    print_table(
        "Metrics",
        ("metric", "first", "second", "change"),
        [
            (each.name, number(each.before), number(each.after), number(each.change))
            for each in sorted(difference.metrics, key=lambda metric: _headlines_first(metric.name))
        ],
        _SHOWN,
    )
    print_table(
        "Nodes decided differently",
        ("node", "operator", "first", "second", "why, first", "why, second"),
        [(n.id, n.op_type, n.before, n.after, n.before_reason, n.after_reason) for n in difference.nodes],
        _SHOWN,
    )
    print(difference.sentence())
