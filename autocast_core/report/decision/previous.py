"""What differs from the version that was registered before under the same name: figures, gates, nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.plan import diff as plan_diff
from autocast_core.report.content import PreviousVersion, ReportInput
from autocast_core.report.decision.gains import Gain
from autocast_core.report.text import number, relative_change, size

_LISTED = 12


@dataclass(frozen=True)
class FigureChange:
    """A line: a gain's figure, or what a gate measures, of the version before and of this one."""

    name: str
    before: str
    now: str
    change: str


@dataclass(frozen=True)
class NodesMoved:
    """Nodes that changed sides: in which direction, how many, and the ids of the first."""

    direction: str
    count: int
    ids: tuple[str, ...]

    @property
    def more(self) -> int:
        return self.count - len(self.ids)


@dataclass(frozen=True)
class SincePrevious:
    """All that the report shows of the version before; `same_graph`: both plans are for one graph."""

    version: str
    same_graph: bool
    figures: tuple[FigureChange, ...] = ()
    moved: tuple[NodesMoved, ...] = ()


def since_previous(report: ReportInput, shown: Sequence[Gain]) -> SincePrevious | None:
    """The differences in the figures that the first screen shows (`shown`), in the gates, and between the plans; None
    where no version came before."""
    before = report.previous
    if before is None:
        return None
    figures = (*_figures(report.metrics, before, shown), *_gates(report, before))
    same = before.plan.structure_digest == report.plan.structure_digest
    return SincePrevious(before.version, same, figures, tuple(_moved(before.plan, report.plan)))


def _figures(metrics: Mapping[str, float], before: PreviousVersion, shown: Sequence[Gain]) -> Iterator[FigureChange]:
    for gain in shown:
        old, new = before.metrics.get(gain.metric), metrics.get(gain.metric)
        if old is not None and new is not None:
            yield FigureChange(gain.name, _text(gain, old), _text(gain, new), _change(old, new))


def _gates(report: ReportInput, before: PreviousVersion) -> Iterator[FigureChange]:
    for gate in report.gates:
        if gate.expression not in before.gates:
            yield FigureChange(f"Gate {gate.expression}", "not asked for", number(gate.value), "")
        else:
            old = before.gates[gate.expression]
            change = "" if old is None or gate.value is None else _change(old, gate.value)
            yield FigureChange(f"Gate {gate.expression}", number(old), number(gate.value), change)
    asked = {gate.expression for gate in report.gates}
    for expression, value in before.gates.items():
        if expression not in asked:
            yield FigureChange(f"Gate {expression}", number(value), "no longer asked for", "")


def _moved(before: PrecisionPlan, now: PrecisionPlan) -> Iterator[NodesMoved]:
    lowered, kept, gone, new = [], [], [], []
    for change in plan_diff(before, now):
        if change.before is None:
            new.append(change.id)
        elif change.after is None:
            gone.append(change.id)
        elif _is_fp32(change.before) and change.after.precision.is_low:
            lowered.append(change.id)
        elif change.before.precision.is_low and _is_fp32(change.after):
            kept.append(change.id)
    directions = (
        ("from FP32 to 16 bits", lowered),
        ("from 16 bits to FP32", kept),
        ("only in this version", new),
        ("only in the version before", gone),
    )
    for direction, ids in directions:
        if ids:
            yield NodesMoved(direction, len(ids), tuple(ids[:_LISTED]))


def _is_fp32(decision: NodeDecision) -> bool:
    return decision.precision is Precision.FP32


def _text(gain: Gain, value: float) -> str:
    """A figure in the unit of its gain."""
    if gain.name == "Size":
        return size(int(value))
    return f"{number(value)}{gain.unit}"


def _change(old: float, new: float) -> str:
    return "=" if old == new else relative_change(old, new, digits=1)
