"""report.html: one self-contained page that explains a conversion to whoever must approve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autocast_core.report.content import (
    ERRORS,
    ReportInput,
    alerts,
    all_warnings,
    before_after,
    first_backend,
    gate_outcome,
    how_to_approve,
    judged,
    kept_nodes,
    output_errors,
    unchecked,
)
from autocast_core.report.figures.engine_section import engine_section
from autocast_core.report.figures.ranges import FLOOR, FP16_MAX, FP16_NORMAL, TensorRange, columns, tensor_ranges, ticks
from autocast_core.report.operators import operator_counts
from autocast_core.report.page_data import page_data, script_json
from autocast_core.report.sources import error_sources
from autocast_core.report.text import number, shown
from autocast_core.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

COLUMNS = 900
OUTPUTS = 200
CHANGES = 200
SOURCES = 20


def page(report: ReportInput) -> str:
    """The page as HTML text. It loads nothing, and shows every name of the model as text."""
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            counts=report.plan.counts(),
            outcome=gate_outcome(report),
            how_to_approve=how_to_approve(report),
            comparisons=before_after(report),
            judged=judged(report.metrics),
            errors=output_errors(report)[:OUTPUTS],
            hidden_errors=max(0, len(output_errors(report)) - OUTPUTS),
            error_names=ERRORS,
            sources=error_sources(report, SOURCES),
            source_backend=first_backend(report),
            engine=engine_section(report.validation) if report.validation is not None else None,
            operators=operator_counts(report.plan, 40),
            kept=len(kept_nodes(report.plan)),
            ranges=_range_drawing(report),
            changes=report.plan.sanitize[:CHANGES],
            unchecked=unchecked(report),
            alerts=alerts(report),
            warnings=all_warnings(report),
            metrics=report.metrics,
            data=script_json(page_data(report)),
        )
    )


def environment() -> Environment:
    """Where the pages' templates come from; what they show is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("autocast_core.report", "templates"),
        autoescape=select_autoescape(("html.j2",), default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "shown": shown, "visible": visible, "source": _source(environment)}
    environment.filters["merge"] = lambda left, right: {**left, **right}
    return environment


def _source(environment: Any) -> Any:
    """A filter that gives a template file's text as it is: our own style sheet and script."""
    from markupsafe import Markup

    def source(name: str) -> Markup:
        return Markup(environment.loader.get_source(environment, name)[0])

    return source


def _range_drawing(report: ReportInput) -> dict[str, Any] | None:
    """Numbers for the inline drawing: one path for kept tensors, one for the others, lines and labels."""
    every = tensor_ranges(report.plan, report.statistics, report.wiring)
    if not every:
        return None
    drawn = columns(every, COLUMNS)
    marks = ticks(drawn)
    top = max(marks[-1][0], *(max(each.high, -each.low) for each in drawn)) + 1
    step = COLUMNS / len(drawn)
    return {
        "low": _path(drawn, False, step),
        "kept": _path(drawn, True, step),
        "stroke": round(max(0.8, min(8.0, 0.7 * step)), 2),
        "width": COLUMNS,
        "top": round(top, 2),
        "ticks": marks,
        "limits": [side * (end - FLOOR) for end in (FP16_MAX, FP16_NORMAL) for side in (1, -1)],
        "count": len(every),
        "per_column": -(-len(every) // len(drawn)),
        "beyond": sum(max(each.high, -each.low) > FP16_MAX - FLOOR for each in every),
    }


def _path(drawn: tuple[TensorRange, ...], kept: bool, step: float) -> str:
    """Vertical strokes, x in drawing units, y upwards; a range of no height is still a visible dot."""
    return "".join(
        f"M{(index + 0.5) * step:.1f} {-each.low + 0.15:.2f}V{-each.high - 0.15:.2f}"
        for index, each in enumerate(drawn)
        if each.kept is kept
    )
