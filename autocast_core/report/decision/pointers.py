"""What a reviewer should look at before deciding, each with the nodes that it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autocast_core.calibrate.statistics import Statistics
from autocast_core.plan import NodeDecision, NodeError
from autocast_core.report.content import ReportInput, all_warnings, kept_nodes, unchecked
from autocast_core.report.figures.ranges import FP16_MAX
from autocast_core.report.sources import error_sources
from autocast_core.report.text import number
from autocast_core.text import how_many, visible

_NODES = 3
_RULES = 3
_LARGE_SHARE = 0.1
"""A node with a tenth of the error is worth a look of its own."""


@dataclass(frozen=True)
class Pointer:
    """A line, the ids of the nodes to look at (at most three), and the section of the page that has all of it."""

    text: str
    section: str
    nodes: tuple[str, ...] = ()


def pointers(report: ReportInput) -> tuple[Pointer, ...]:
    """Findings first, then where the error comes from, what stays in FP32, ranges, what was not checked."""
    return (
        *_findings(report),
        *_errors(report),
        *_overflows(report),
        *_kept(report),
        *_ranges(report),
        *_lists(report),
    )


def _findings(report: ReportInput) -> Iterator[Pointer]:
    if report.validation is not None and report.validation.findings:
        count = how_many(len(report.validation.findings), "finding")
        yield Pointer(f"The target engine has {count}: {visible(report.validation.findings[0].words)}", "engine")


def _errors(report: ReportInput) -> Iterator[Pointer]:
    """How the error is spread: over a few nodes that are worth a look, or over all of them."""
    found = error_sources(report)
    if not found:
        return
    large = [node for node in found if node.share >= _LARGE_SHARE]
    if large:
        share = sum(node.share for node in large)
        text = f"{how_many(len(large), 'node')} {'makes' if len(large) == 1 else 'make'} {share:.0%} of the error"
        yield Pointer(text, "sources", _ids(large))
    else:
        half = _making_half(found)
        text = f"No node stands out: the largest share of the error is {found[0].share:.1%}; {half:,} make half of it"
        yield Pointer(text, "sources", _ids(found[:1]))


def _making_half(found: Sequence[NodeError]) -> int:
    """How many of the nodes, by falling share, make half of what all of them make."""
    half, summed = sum(node.share for node in found) / 2, 0.0
    for count, node in enumerate(found, 1):
        summed += node.share
        if summed >= half:
            return count
    return len(found)


def _overflows(report: ReportInput) -> Iterator[Pointer]:
    over = [node for node in error_sources(report) if node.overflow]
    if over:
        yield Pointer(f"Values overflow in {how_many(len(over), 'node')}", "sources", _ids(over))


def _kept(report: ReportInput) -> Iterator[Pointer]:
    """The nodes in FP32, by the rules that keep them."""
    kept = kept_nodes(report.plan)
    by_rule: dict[str, list[NodeDecision]] = {}
    for decision in kept:
        by_rule.setdefault(decision.rule, []).append(decision)
    ranked = sorted(by_rule.items(), key=lambda each: -len(each[1]))
    for rule, decisions in ranked[:_RULES]:
        text = f"{how_many(len(decisions), 'node')} in FP32 by {visible(rule)}: {visible(_why(decisions))}"
        yield Pointer(text, "nodes", _ids(decisions))
    rest = sum(len(decisions) for _, decisions in ranked[_RULES:])
    if rest:
        yield Pointer(f"{how_many(rest, 'node')} in FP32 by other rules", "nodes")


def _why(decisions: Sequence[NodeDecision]) -> str:
    first = next((each.reason for each in decisions if each.reason), "")
    return f"for example, {first}" if len({each.reason for each in decisions}) > 1 else first or "no reason is given"


def _ranges(report: ReportInput) -> Iterator[Pointer]:
    beyond = _beyond_fp16(report.statistics)
    if beyond:
        largest = max(beyond, key=beyond.__getitem__)
        reaches = f"{visible(largest)} reaches {number(beyond[largest])}"
        text = f"{how_many(len(beyond), 'tensor')} beyond FP16's largest value: {reaches}"
        yield Pointer(text, "ranges", _touching(report, largest))


def _beyond_fp16(statistics: Statistics) -> dict[str, float]:
    return {name: found.absmax for name, found in statistics.tensors.items() if found.absmax >= 2.0**FP16_MAX}


def _touching(report: ReportInput, tensor: str) -> tuple[str, ...]:
    return tuple(node.id for node in report.network.nodes if tensor in (*node.inputs, *node.outputs))[:_NODES]


def _lists(report: ReportInput) -> Iterator[Pointer]:
    open_points, warnings = len(unchecked(report)), len(all_warnings(report))
    if open_points:
        yield Pointer(f"{how_many(open_points, 'thing was', 'things were')} not checked", "unchecked")
    if warnings:
        yield Pointer(how_many(warnings, "warning"), "warnings")


def _ids(nodes: Sequence[NodeDecision | NodeError]) -> tuple[str, ...]:
    return tuple(node.id for node in nodes[:_NODES])
