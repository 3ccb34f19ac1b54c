"""report.html: one self-contained page that explains a conversion to whoever must approve it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autocast_core.report.content import (
    ERRORS,
    ReportInput,
    alerts,
    all_warnings,
    approving_command,
    before_after,
    first_backend,
    gate_outcome,
    judged,
    kept_nodes,
    output_errors,
    unchecked,
)
from autocast_core.report.decision.gains import gains
from autocast_core.report.decision.pointers import pointers
from autocast_core.report.decision.previous import since_previous
from autocast_core.report.figures.engine_section import engine_section
from autocast_core.report.figures.range_drawing import range_drawing
from autocast_core.report.operators import operator_counts
from autocast_core.report.pages.page_data import page_data, script_json
from autocast_core.report.sources import error_sources
from autocast_core.report.text import number, shown
from autocast_core.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

OUTPUTS = 200
CHANGES = 200
SOURCES = 20
SCRIPTS = (
    *("dom", "network", "evidence", "node_table"),
    *("scopes", "layers", "map_colours", "map_drawing", "map", "map_controls"),
)
"""The page's scripts among the templates, in an order in which each finds what it uses."""


def page(report: ReportInput) -> str:
    """The page as HTML text. It loads nothing, and shows every name of the model as text."""
    engine = engine_section(report.validation) if report.validation is not None else None
    gained = gains(report, engine)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            counts=report.plan.counts(),
            outcome=gate_outcome(report),
            gains=gained,
            since=since_previous(report, gained),
            gates_explained=any(gate.reason for gate in report.gates),
            approving_command=approving_command(report),
            pointers=pointers(report),
            places={decision.id: place for place, decision in enumerate(report.plan.nodes)},
            comparisons=before_after(report),
            judged=judged(report.metrics),
            errors=output_errors(report)[:OUTPUTS],
            hidden_errors=max(0, len(output_errors(report)) - OUTPUTS),
            error_names=ERRORS,
            sources=error_sources(report, SOURCES),
            source_backend=first_backend(report),
            engine=engine,
            operators=operator_counts(report.plan, 40),
            kept=len(kept_nodes(report.plan)),
            ranges=range_drawing(report),
            changes=report.plan.sanitize[:CHANGES],
            unchecked=unchecked(report),
            alerts=alerts(report),
            warnings=all_warnings(report),
            metrics=report.metrics,
            data=script_json(page_data(report)),
            scripts=SCRIPTS,
        )
    )


def environment() -> Environment:
    """Where the pages' templates come from; what they show is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("autocast_core.report.pages", "templates"),
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
