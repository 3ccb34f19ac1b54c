"""summary.md: what a reviewer reads first, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autocast_core.precision import types_text
from autocast_core.report.before_after import plain
from autocast_core.report.content import (
    ERRORS,
    ReportInput,
    alerts,
    all_warnings,
    before_after,
    gate_outcome,
    judged,
    kept_nodes,
    output_errors,
    unchecked,
)
from autocast_core.report.figures.engine_section import engine_section
from autocast_core.report.sources import error_sources
from autocast_core.report.text import markdown, number, shown, table

KEPT, OUTPUTS, SOURCES = 40, 40, 10


def summary(report: ReportInput) -> str:
    """The summary: verdict and gates first, then what changed, why, what it costs, and what was not checked.

    Long lists are cut and say so; report.html has all of them.
    """
    sections = (
        _head(report),
        _section("Before and after", _before_after(report)),
        _section("Error per output", _errors(report)),
        _section("Where the error comes from", _sources(report)),
        _section("Task", _task(report)),
        _section("Judges", _judges(report)),
        _section(f"Nodes kept in FP32 ({len(kept_nodes(report.plan)):,})", _kept(report)),
        _section("Target engine", _engine(report)),
        _section("Not checked", _bullets(unchecked(report))),
        _section("Warnings", _bullets(all_warnings(report))),
        _section("Data", _data(report)),
        _section("Files", _files(report)),
        _section("Options", _pairs(report.spec)),
        _section("Versions", _pairs(report.versions)),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _head(report: ReportInput) -> str:
    lines = [
        f"# {markdown(report.name)}: {types_text(report.plan.low_types, ' and ')}",
        f"**{gate_outcome(report).sentence}**",
    ]
    lines += [f"**{markdown(line, 400)}**" for line in alerts(report)]
    if report.gates:
        rows = (
            (
                markdown(gate.expression),
                number(gate.value),
                "passed" if gate.passed else "**failed**",
                markdown(gate.reason),
            )
            for gate in report.gates
        )
        lines.append(table(("gate", "measured", "result", ""), rows))
    said = (report.plan.summary(), report.plan.measured_summary())
    lines += [f"{markdown(line)}." for line in said if line is not None]
    return "\n\n".join(lines)


def _before_after(report: ReportInput) -> str:
    rows = (
        (markdown(each.quantity), markdown(plain(each.before)), markdown(plain(each.after)), markdown(each.backend))
        for each in before_after(report)
    )
    return table(("", "before", "after", "measured on"), rows)


def _errors(report: ReportInput) -> str:
    errors = output_errors(report)
    if not errors:
        return ""
    rows = (
        (markdown(each.output), markdown(each.metric), *map(number, each.values), markdown(each.backend))
        for each in errors[:OUTPUTS]
    )
    return table(("output", "name in metrics", *map(markdown, ERRORS), "measured on"), rows) + _cut(
        errors, OUTPUTS, "outputs"
    )


def _sources(report: ReportInput) -> str:
    found = error_sources(report, SOURCES)
    rows = (
        (markdown(each.id), markdown(each.op_type), f"{each.share:.1%}", number(each.local), number(each.overflow))
        for each in found
    )
    return table(("node", "operator", "share of the error", "its own error", "overflows"), rows) if found else ""


def _task(report: ReportInput) -> str:
    return _pairs({name: number(value) for name, value in report.task.items()})


def _judges(report: ReportInput) -> str:
    rows = [
        (
            markdown(row.name),
            number(report.metrics[row.metric]),
            "–" if row.worst_batch is None else number(report.metrics[row.worst_batch]),
            row.better,
            markdown(row.meaning, 400),
        )
        for row in judged(report.metrics)
    ]
    return table(("metric", "value", "worst batch", "better", "meaning"), rows) if rows else ""


def _kept(report: ReportInput) -> str:
    kept = kept_nodes(report.plan)
    if not kept:
        return ""
    rows = (
        (
            markdown(each.id),
            markdown(each.op_type),
            markdown(each.rule),
            markdown(each.reason, 240),
        )
        for each in kept[:KEPT]
    )
    return table(("node", "operator", "rule", "reason"), rows) + _cut(kept, KEPT, "nodes")


def _engine(report: ReportInput) -> str:
    found = report.validation
    if found is None:
        return ""
    judgement = "accepted" if found.accepted else "not accepted"
    lines = [f"{markdown(found.package or 'TensorRT')}: depth {found.depth}, {judgement}."]
    if found.findings:
        rows = ((markdown(f.node), markdown(f.op), markdown(f.code), markdown(f.words, 300)) for f in found.findings)
        lines.append(table(("node", "operator", "code", "the engine's words"), rows))
    section = engine_section(found)
    if section is not None:
        rows = ((markdown(each.name), each.fp32, each.mixed, markdown(each.metric)) for each in section.figures)
        expected = section.described_by == "model of fusion"
        lines.append(
            table(
                (
                    "expected by a model of fusion" if expected else "of the built engine",
                    "FP32",
                    "mixed",
                    "name in metrics",
                ),
                rows,
            )
        )
    if section is not None and section.estimate is not None:
        device = section.estimate
        lines.append(
            "Times are estimated by a roofline over the engine's kernels, not measured; figures of "
            f"{markdown(device.name)}: {markdown(device.source, 300)}."
        )
    if report.engine:
        lines.append(_pairs({name: number(value) for name, value in report.engine.items()}))
    return "\n\n".join(lines)


def _data(report: ReportInput) -> str:
    rows = (
        (each.purpose, markdown(each.origin), markdown(each.uri or "–", 300), each.digest or "–", number(each.batches))
        for each in report.data
    )
    return table(("purpose", "origin", "where", "sha256", "batches"), rows) if report.data else ""


def _files(report: ReportInput) -> str:
    rows = [
        (name, markdown(facts.uri, 300), facts.sha256, f"{facts.bytes:,}")
        for name, facts in (("source", report.source), ("output", report.output))
    ]
    return table(("", "where", "sha256", "bytes"), rows)


def _pairs(values: Mapping[str, object]) -> str:
    return (
        table(("name", "value"), ((markdown(name), markdown(shown(value), 300)) for name, value in values.items()))
        if values
        else ""
    )


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown(line, 400)}" for line in lines)


def _cut(items: tuple[object, ...], limit: int, noun: str) -> str:
    return f"\n\n… and {len(items) - limit:,} more {noun}: see report.html." if len(items) > limit else ""
