"""What a conversion gains, in the few figures that decide: size, time, kernels, fused attention, accuracy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autocast_core.engine.validation import of_fp32
from autocast_core.report.before_after import Cell, Measured, QuantityChange, plain
from autocast_core.report.content import ReportInput, before_after
from autocast_core.report.figures.engine_section import EngineSection
from autocast_core.report.text import relative_change

_NAMES = {"size": "Size", "latency": "Latency", "estimated time": "Estimated time", "accuracy": "Worst output"}
_FOUND, _FUSED = "attention/found", "attention/fused"
_OF_ENGINES = {"kernels": "Kernels", _FUSED: "Fused attention"}
_ORDER = ("size", "latency", "estimated time", *_OF_ENGINES.values(), "accuracy")


@dataclass(frozen=True)
class Gain:
    """A figure of the converted model beside the FP32 model's, which has its unit; `change` says how they relate
    (``−49%``), `by` what measured or estimated both, `metric` names the figure in the run's metrics."""

    name: str
    before: str
    after: str
    unit: str
    change: str
    by: str
    metric: str


def gains(report: ReportInput, engine: EngineSection | None) -> tuple[Gain, ...]:
    """Size, latency, estimated time, kernels, fused attention and accuracy, as far as they are known. The estimate
    stands only where no latency was measured."""
    lines = before_after(report)
    timed = any(line.kind == "latency" for line in lines)
    found: dict[str, Gain] = {}
    for line in lines:
        if line.kind in _NAMES and not (timed and line.kind == "estimated time"):
            # Of several devices or backends the first.
            found.setdefault(line.kind, _of_line(report, line))
    found |= {gain.name: gain for gain in _of_engine(report, engine)}
    return tuple(found[kind] for kind in _ORDER if kind in found)


def _of_line(report: ReportInput, line: QuantityChange) -> Gain:
    after = _numbers(line.after)
    if line.kind == "accuracy":
        ratio = after[1]
        return Gain(_NAMES[line.kind], "exact", ratio.text, " dB SQNR", "", line.backend, ratio.metric)
    before = _numbers(line.before)
    change = _change(report, before[0].metric, after[0].metric) if before else ""
    name = line.quantity if line.kind == "estimated time" else _NAMES[line.kind]
    return Gain(name, plain(line.before), after[0].text, _unit(line.after), change, line.backend, after[0].metric)


def _of_engine(report: ReportInput, engine: EngineSection | None) -> Iterator[Gain]:
    """Counts of the engine's section, under the names of its metrics."""
    if engine is None:
        return
    by = "expected by a model of fusion" if engine.described_by == "model of fusion" else "the built engine"
    has_attention = any(each.quantity == _FOUND and {each.mixed, each.fp32} - {"0", "–"} for each in engine.figures)
    for figure in engine.figures:
        if figure.quantity in _OF_ENGINES and (has_attention or figure.quantity != _FUSED):
            change = "" if figure.quantity == _FUSED else _change(report, of_fp32(figure.metric), figure.metric)
            yield Gain(_OF_ENGINES[figure.quantity], figure.fp32, figure.mixed, "", change, by, figure.metric)


def _numbers(cell: Cell) -> list[Measured]:
    return [part for part in cell if isinstance(part, Measured)]


def _unit(cell: Cell) -> str:
    """What stands after a cell's number, but for a share in brackets, which the change says again."""
    return "".join(part for part in cell if isinstance(part, str) and not part.startswith(" ("))


def _change(report: ReportInput, before: str, after: str) -> str:
    """How one metric relates to the other; empty where one of both is not known."""
    old, new = report.metrics.get(before), report.metrics.get(after)
    return "" if old is None or new is None else relative_change(old, new)
