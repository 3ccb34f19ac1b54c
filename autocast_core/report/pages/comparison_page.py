"""What differs between two conversions, and the page that shows it: settings, metrics, and the nodes that they decide
differently."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.plan import diff as plan_diff
from autocast_core.report.pages.report_page import environment
from autocast_core.report.text import number
from autocast_core.text import how_many

_LISTED = 2000
_ABSENT = "–"


@dataclass(frozen=True)
class Side:
    """One of the two runs: its id, its name, what it was asked (parameters and tags), what it measured, its plan."""

    run_id: str
    name: str
    settings: Mapping[str, str]
    metrics: Mapping[str, float]
    plan: PrecisionPlan


@dataclass(frozen=True)
class Setting:
    """A setting that differs; None on the side that does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Metric:
    """A metric that differs; None on the side that does not have it."""

    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """after - before; None where one is missing."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True)
class ChangedNode:
    """A node that the plans decide differently, with each one's reason."""

    id: str
    op_type: str
    before: str
    after: str
    before_reason: str
    after_reason: str

    @property
    def is_in_both(self) -> bool:
        """Whether both graphs have the node."""
        return _ABSENT not in (self.before, self.after)


@dataclass(frozen=True)
class Difference:
    """All that differs between `before` and `after`; `same_structure`: both plans are for one graph."""

    before: Side
    after: Side
    settings: tuple[Setting, ...]
    metrics: tuple[Metric, ...]
    nodes: tuple[ChangedNode, ...]
    same_structure: bool

    def sentence(self) -> str:
        """How far they are apart, in one sentence: nodes that one graph lacks are counted apart."""
        decided = [node for node in self.nodes if node.is_in_both]
        lowered = sum(node.before == "fp32" and node.after not in ("fp32", "none") for node in decided)
        kept = sum(node.after == "fp32" and node.before not in ("fp32", "none") for node in decided)
        graph = "the same graph" if self.same_structure else "different graphs"
        alone = len(self.nodes) - len(decided)
        others = f"; {_nodes_are(alone)} in one of them alone" if alone else ""
        changed = f"{_nodes_are(len(decided))} decided differently"
        return f"Plans for {graph}: {changed}; the second lowers {lowered:,} and keeps {kept:,} in FP32{others}."


def compare_runs(before: Side, after: Side) -> Difference:
    """The difference of two runs. Nodes are matched by id; metrics within 1e-12 of each other are the same."""
    settings = tuple(
        Setting(name, left, right) for name, left, right in _pairs(before.settings, after.settings) if left != right
    )
    metrics = tuple(
        Metric(name, left, right)
        for name, left, right in _pairs(before.metrics, after.metrics)
        if not _same(left, right)
    )
    nodes = tuple(_changed(change.id, change.before, change.after) for change in plan_diff(before.plan, after.plan))
    same = before.plan.structure_digest == after.plan.structure_digest
    return Difference(before, after, settings, metrics, nodes, same)


def comparison_page(difference: Difference) -> str:
    """The difference as one self-contained HTML page; at most 2,000 nodes are listed."""
    return str(
        environment()
        .get_template("compare.html.j2")
        .render(
            difference=difference,
            nodes=difference.nodes[:_LISTED],
            hidden=max(0, len(difference.nodes) - _LISTED),
            percent=_percent,
            number=number,
        )
    )


def _percent(metric: Metric) -> str:
    """The change in per cent of what was before; a dash where that says nothing."""
    if metric.change is None or not metric.before or not math.isfinite(metric.change):
        return "–"
    return f"{metric.change / abs(metric.before):+.1%}"


def _pairs(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]


def _same(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return math.isclose(left, right, rel_tol=1e-12) or (math.isnan(left) and math.isnan(right))


def _changed(node_id: str, before: NodeDecision | None, after: NodeDecision | None) -> ChangedNode:
    known = before or after
    assert known is not None
    return ChangedNode(
        node_id,
        known.op_type,
        str(before.precision) if before else _ABSENT,
        str(after.precision) if after else _ABSENT,
        _explanation(before),
        _explanation(after),
    )


def _nodes_are(count: int) -> str:
    return how_many(count, "node is", "nodes are")


def _explanation(decision: NodeDecision | None) -> str:
    if decision is None:
        return "not in this plan"
    return f"{decision.rule}: {decision.reason}" if decision.reason else decision.rule
