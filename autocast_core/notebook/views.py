"""One view a type, as values: headings, tables, plots. `html_of` makes one fragment of HTML of them.

Names from models are escaped and cut. Long tables show their first rows and say how many there are. Nothing is read or
measured: a view shows what its value holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import singledispatch
from typing import TYPE_CHECKING

from autocast_core.evaluate.metric_names import WORST_SQNR
from autocast_core.lint import Inspection, LintFinding
from autocast_core.notebook.fragments import Caption, Part, Plot, Table, fragment
from autocast_core.pipeline.convert import Conversion
from autocast_core.plan import PrecisionPlan
from autocast_core.report.content import kept_nodes
from autocast_core.report.figures.pareto_plot import pareto_plot
from autocast_core.report.figures.plots import precision_by_operator, sizes
from autocast_core.report.text import number, size
from autocast_core.search.result import SearchResult
from autocast_core.text import how_many

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 20


def html_of(value: object) -> str:
    """`value` as a fragment of HTML. TypeError for what has no view."""
    return fragment(tuple(_parts(value)))


@singledispatch
def _parts(value: object) -> Iterator[Part]:
    raise TypeError(f"{type(value).__name__} has no view for notebooks")


@_parts.register
def _(plan: PrecisionPlan) -> Iterator[Part]:
    yield Caption(plan.summary())
    yield _kept(plan)
    for warning in plan.warnings:
        yield Caption(f"warning: {warning}")
    if plan.nodes:
        yield Plot("Precision by operator type", precision_by_operator(plan))


@_parts.register
def _(conversion: Conversion) -> Iterator[Part]:
    before, after = conversion.bytes_before, conversion.bytes_after
    yield Caption(conversion.plan.summary())
    yield Table(
        str(conversion.output.path),
        ("", "before", "after"),
        (
            ("size", size(before), f"{size(after)} ({after / before:.0%})" if before else size(after)),
            ("casts inserted", "–", number(conversion.casts_inserted)),
        ),
    )
    yield _kept(conversion.plan)
    for warning in conversion.warnings:
        yield Caption(f"warning: {warning}")
    yield Plot("Model size", sizes(before, after))
    if conversion.plan.nodes:
        yield Plot("Precision by operator type", precision_by_operator(conversion.plan))


@_parts.register
def _(found: SearchResult) -> Iterator[Part]:
    kept = len(found.kept_fp32)
    ending = f"ended early: {found.stopped}" if found.stopped else "1-minimal: lowering any one of them misses a budget"
    counts = f"{how_many(kept, 'node')} kept in FP32 after {how_many(found.evaluations, 'evaluation')}"
    yield Caption(f"{counts}; {ending}" if kept else counts)
    yield Table(
        "Budgets, measured in simulation",
        ("budget", "measured", "result"),
        tuple((each.expression, number(each.value), "met" if each.passed else "missed") for each in found.budgets),
    )
    yield Table("Kept in FP32", ("node",), tuple((node,) for node in found.kept_fp32), ROWS)
    if figure := _trials_plot(found):
        yield Plot("SQNR of the trials", figure)
    if found.front:
        yield Plot("Accuracy against cost", pareto_plot(_front(found)))


@_parts.register
def _(inspection: Inspection) -> Iterator[Part]:
    count, types = len(inspection.findings), inspection.types
    yield Caption(how_many(count, "finding") if count else "no findings")
    yield Table(
        "Findings",
        ("code", "level", "node", "what", "costs", "remedy"),
        tuple(_finding(each) for each in inspection.findings),
        ROWS,
    )
    whole = f"{inspection.attention_whole} of {inspection.attention_cores}"
    yield Table(
        "Nodes by type",
        ("type", "nodes"),
        (*((name, number(nodes)) for name, nodes in types.items()), ("attention cores that are whole", whole)),
    )


def _finding(each: LintFinding) -> tuple[str, ...]:
    costs = each.costs if each.bytes is None else f"{each.costs} [{size(each.bytes)}]"
    return each.code, each.level.word, each.node, f"{each.title}: {each.detail}", costs, each.remedy


def _kept(plan: PrecisionPlan) -> Table:
    rows: Sequence[tuple[str, ...]] = [(each.id, each.op_type, each.rule, each.reason) for each in kept_nodes(plan)]
    return Table("Kept in FP32", ("node", "operator", "rule", "why"), tuple(rows), ROWS)


def _front(found: SearchResult) -> list[dict[str, object]]:
    """The points of the front, numbered, as `pareto_plot` takes them."""
    return [
        {"number": number, "cost": each.cost, "unit": each.unit, "sqnr_db": each.sqnr_db}
        for number, each in enumerate(found.front, 1)
    ]


def _trials_plot(found: SearchResult) -> Figure | None:
    """The accuracy of each trial against the nodes that it kept; None where no trial measured it."""
    measured = [(len(each.kept), each.metrics[WORST_SQNR]) for each in found.trials if WORST_SQNR in each.metrics]
    if not measured:
        return None
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.scatter([kept for kept, _ in measured], [sqnr for _, sqnr in measured], color="#2166ac", label="trial")
    axes.set_xlabel("nodes kept in FP32")
    axes.set_ylabel("worst SQNR in dB, simulated")
    return figure
