"""What the pages of a run and of a registered version say of a conversion: at most LINES lines, the decision first.

MLflow folds a run's description after a few lines, and shows the beginning of a version's in its table as it is
written: the first words are plain.
"""

from __future__ import annotations

from collections.abc import Iterator

from autocast_core.report.before_after import QuantityChange, plain
from autocast_core.report.content import ReportInput, alerts, before_after, gate_outcome, how_to_approve
from autocast_core.report.text import markdown, number

LINES = 10
_GATES = 4


def description(report: ReportInput, links: str, source: str) -> str:
    """Markdown: verdict, what was converted, gates, what changed, how to approve, and `links` to the report and the
    like; `source` is what was converted. Both are Markdown that is safe to show."""
    lines = [_verdict(report), *_changes(report)]
    approve = how_to_approve(report)
    ends = [*([markdown(approve, 600)] if approve else []), f"{links} · Source: {source}"]
    first, *others = [*lines[: LINES - len(ends)], *ends]
    return "\n".join([first, "", *(f"- {line}" for line in others)]) + "\n"


def _verdict(report: ReportInput) -> str:
    said = (gate_outcome(report).sentence, *(f"**{markdown(line, 300)}**" for line in alerts(report)))
    return " ".join((*said, f"{markdown(report.plan.summary())}."))


def _changes(report: ReportInput) -> Iterator[str]:
    if report.gates:
        gates = [f"{markdown(gate.expression)} (measured {number(gate.value)})" for gate in report.gates]
        more = f", and {len(gates) - _GATES} more" if len(gates) > _GATES else ""
        yield f"Gates: {', '.join(gates[:_GATES])}{more}"
    if repaired := report.plan.measured_summary():
        yield markdown(repaired, 300)
    changes = before_after(report)
    # Of several backends, and of several devices, the first: the report has all.
    for kind in ("size", "accuracy", "latency", "estimated time", "task"):
        found = next((each for each in changes if each.kind == kind), None)
        if found is not None:
            yield _changed(found)


def _changed(change: QuantityChange) -> str:
    measured = f" ({markdown(change.backend)})" if change.backend else ""
    return f"{markdown(change.quantity)}: {markdown(plain(change.before))} → {markdown(plain(change.after))}{measured}"
