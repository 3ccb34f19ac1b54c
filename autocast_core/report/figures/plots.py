"""Plots of a conversion as matplotlib Figures, made without pyplot: no global state, no display."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autocast_core.calibrate.statistics import Statistics
from autocast_core.plan import PrecisionPlan
from autocast_core.precision import types_text
from autocast_core.report.content import ERRORS, OutputErrors, ReportInput, output_errors
from autocast_core.report.figures.ranges import FLOOR, FP16_MAX, FP16_NORMAL, TensorRange, columns, tensor_ranges, ticks
from autocast_core.report.network import NodeWiring
from autocast_core.report.operators import operator_counts
from autocast_core.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

LOW, FP32, NONE = "#2166ac", "#b35806", "#bababa"
OPERATORS, OUTPUTS, COLUMNS = 25, 30, 1500


def plots(report: ReportInput) -> dict[str, Figure]:
    """Every plot that the report's content allows, by file stem."""
    figures = {"precision_by_operator": precision_by_operator(report.plan)}
    if report.statistics.tensors:
        figures["dynamic_range"] = dynamic_range(report.plan, report.statistics, report.network.nodes)
    errors = output_errors(report)
    if errors:
        figures["output_error"] = output_error(errors)
    figures["size"] = sizes(report.source.bytes, report.output.bytes)
    return figures


def precision_by_operator(plan: PrecisionPlan) -> Figure:
    """Stacked bars: the nodes of each operator type by precision; the 24 most frequent types and the rest."""
    counts = operator_counts(plan, OPERATORS)
    figure, axes = _figure(height=1.6 + 0.26 * len(counts))
    at, left = range(len(counts)), [0] * len(counts)
    parts = (
        (types_text(plan.low_types, " and "), LOW, [each.low for each in counts]),
        ("fp32", FP32, [each.fp32 for each in counts]),
        ("no float tensor", NONE, [each.none for each in counts]),
    )
    for label, color, widths in parts:
        axes.barh(at, widths, left=left, color=color, label=label)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(at, labels=[visible(each.op_type, 40) for each in counts])
    axes.invert_yaxis()
    axes.set_xlabel("nodes")
    axes.set_title("Precision by operator type")
    axes.legend(loc="lower right")
    return _literal(figure, axes.get_yticklabels())


def dynamic_range(plan: PrecisionPlan, statistics: Statistics, wiring: Sequence[NodeWiring] = ()) -> Figure:
    """A bar from min to max of every measured tensor along the network, on the axis of `ranges`."""
    ranges = columns(tensor_ranges(plan, statistics, wiring), COLUMNS)
    figure, axes = _figure(width=10, height=4.5)
    for kept, color, label in ((False, LOW, "only low-precision nodes"), (True, FP32, "a node kept in FP32")):
        chosen = [(index, each) for index, each in enumerate(ranges) if each.kept is kept]
        if chosen:
            _draw_ranges(axes, chosen, color, label)
    for end in (FP16_MAX, FP16_NORMAL):
        for side in (1, -1):
            axes.axhline(side * (end - FLOOR), color="#666666", linewidth=0.8, linestyle="--")
    marks = ticks(ranges)
    axes.set_yticks([at for at, _ in marks], labels=[label for _, label in marks])
    axes.set_xlabel(f"{len(statistics.tensors):,} tensors, in the order of the network")
    axes.set_ylabel("value, signed log2")
    axes.set_title("Dynamic range; dashed: FP16's largest (2^16) and smallest normal (2^-14) magnitude")
    if ranges:
        axes.legend(loc="upper right")
    return _literal(figure, (*axes.get_yticklabels(), axes.title))


def output_error(errors: Sequence[OutputErrors]) -> Figure:
    """Bars of the relative L2 error of every output by every backend; the 30 largest."""
    at = ERRORS.index("rel_l2")
    measured = [each for each in errors if each.values[at] is not None]
    worst = sorted(measured, key=lambda each: -(each.values[at] or 0.0))[:OUTPUTS]
    figure, axes = _figure(height=1.6 + 0.3 * max(1, len(worst)))
    axes.barh(range(len(worst)), [each.values[at] or 0.0 for each in worst], color=LOW)
    axes.set_yticks(range(len(worst)), labels=[f"{visible(each.output, 30)} ({each.backend})" for each in worst])
    axes.invert_yaxis()
    axes.set_xlabel("relative L2 error against FP32")
    if any(each.values[at] for each in worst):
        axes.set_xscale("log")
    axes.set_title("Error per output")
    return _literal(figure, axes.get_yticklabels())


def sizes(before: int, after: int) -> Figure:
    """Bars of the model's size before and after, in MB (10**6 bytes)."""
    figure, axes = _figure(height=2.2)
    bars = axes.barh((0, 1), (before / 1e6, after / 1e6), color=(FP32, LOW))
    axes.bar_label(bars, fmt="%.3g MB", padding=3)
    axes.set_yticks((0, 1), labels=("before", "after"))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("MB")
    axes.set_title("Model size")
    return figure


def _draw_ranges(axes: Axes, chosen: Sequence[tuple[int, TensorRange]], color: str, label: str) -> None:
    at, low, high = zip(*((index, each.low, each.high) for index, each in chosen), strict=True)
    axes.vlines(at, low, high, colors=color, label=label, linewidth=max(0.6, min(4.0, 400 / (len(chosen) + 100))))
    axes.scatter((*at, *at), (*low, *high), s=4, color=color, linewidths=0)


def _figure(width: float = 8, height: float = 4) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _literal(figure: Figure, texts: Iterable[Text]) -> Figure:
    """The figure with `texts` drawn as they are: a dollar sign in a name starts no formula."""
    for text in texts:
        text.set_parse_math(False)
    return figure
