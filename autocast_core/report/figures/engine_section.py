"""What reports show of a built engine: its figures beside the FP32 model's, a drawing of its kernels, the costliest.

The drawing has a strip for each engine. Kernels stand in the order of the engine, which is that of the network, each
as wide as its estimated time, or as its bytes where no time is estimated; both strips have one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from autocast_core.engine.devices import DeviceFigures, devices
from autocast_core.engine.roofline import Estimate, kernel_seconds
from autocast_core.engine.validation import FP32, MIXED, Validation, of_fp32
from autocast_core.engine.view import DescribedBy, EngineView, Kernel
from autocast_core.report.text import number, size
from autocast_core.text import how_many, visible

WIDTH = 900
COSTLIEST = 25
_NODES = 3
_BARS = 900
"""Kernels in a strip; beyond that, neighbours are drawn as one."""
_QUANTITIES = {
    "kernels": "Kernels",
    "cast_kernels": "Kernels that only move or cast",
    "attention/found": "Attention cores found",
    "attention/fused": "Attention cores fused into one kernel",
    "traffic_bytes": "Bytes that kernels read and write",
    "cast_bytes": "Bytes of kernels that only move or cast",
}
"""What the table has: the names of metrics without their first part, and what they are called."""
_FLOATS = frozenset({"float", "float16", "bfloat16", "float8e4m3fn", "double"})


@dataclass(frozen=True)
class Figure:
    """A line of the table of figures; "–" where a figure is not known. `quantity` is what its metric's name ends in."""

    quantity: str
    name: str
    fp32: str
    mixed: str
    metric: str


@dataclass(frozen=True)
class KernelBar:
    """Neighbouring kernels in a strip, mostly one: where it begins and how wide it is, in units of the drawing; its
    class (``low``, ``fp32``, ``none``), whether it is fused attention, and a text about it."""

    x: float
    width: float
    kind: str
    attention: bool
    text: str


@dataclass(frozen=True)
class Strip:
    """An engine in the drawing: its name, its bars, and its length as text."""

    name: str
    bars: tuple[KernelBar, ...]
    length: str


@dataclass(frozen=True)
class CostlyKernel:
    """A line of the table of the costliest kernels."""

    name: str
    kind: str
    nodes: tuple[str, ...]
    more: int
    types: str
    traffic: str
    microseconds: str


@dataclass(frozen=True)
class EngineSection:
    """All that the section shows; `described_by` is what told the kernels; `unit` is what widths stand for; times are
    those of `estimate`'s device."""

    described_by: DescribedBy
    figures: tuple[Figure, ...]
    strips: tuple[Strip, ...]
    unit: str
    costliest: tuple[CostlyKernel, ...]
    estimate: Estimate | None

    @property
    def description(self) -> str:
        """The drawing in words."""
        return "; ".join(f"{each.name}: {each.length}" for each in self.strips)


def engine_section(validation: Validation) -> EngineSection | None:
    """The section; None where no engine was seen."""
    view = validation.engine_view
    if view is None:
        return None
    views = {side: each for side, each in ((FP32, validation.fp32_view), (MIXED, view)) if each is not None}
    estimate = validation.estimates.get(MIXED)
    device = devices().get(estimate.device) if estimate is not None else None
    drawn_on = device if all(side in validation.estimates for side in views) else None
    costs = {side: [_cost(kernel, drawn_on) for kernel in each.kernels] for side, each in views.items()}
    scale = WIDTH / (max(map(sum, costs.values())) or 1.0)
    return EngineSection(
        described_by=view.described_by,
        figures=tuple(_figures(validation.metrics(), view.prefix)),
        strips=tuple(_strip(side, each, costs[side], scale, drawn_on is not None) for side, each in views.items()),
        unit="estimated time" if drawn_on is not None else "bytes",
        costliest=tuple(_costliest(view, device)),
        estimate=estimate,
    )


def type_class(kernel: Kernel) -> str:
    """``fp32`` where a kernel multiplies FP32 operands or hands FP32 values on, ``none`` where it only moves or casts
    or has no floats, else ``low``. What it computes in FP32 inside itself does not count."""
    if kernel.only_moves or not _FLOATS.intersection((*kernel.reads, *kernel.writes)):
        return "none"
    return "fp32" if kernel.operand_type == "float" or "float" in kernel.writes else "low"


def element_types(kernel: Kernel) -> str:
    """What a kernel reads and writes, each type once: ``float16, float to float16``."""
    reads, writes = (", ".join(dict.fromkeys(each)) or "nothing" for each in (kernel.reads, kernel.writes))
    return f"{reads} to {writes}"


def _figures(metrics: Mapping[str, float], prefix: str) -> Iterator[Figure]:
    for quantity, name in _QUANTITIES.items():
        metric = f"{prefix}/{quantity}"
        yield Figure(quantity, name, _shown(metrics, of_fp32(metric)), _shown(metrics, metric), metric)
    for metric in metrics:
        room, _, device = metric.partition("/estimated_ms/")
        if room == prefix:
            name = f"Estimated milliseconds on {device}"
            yield Figure("estimated_ms", name, _shown(metrics, of_fp32(metric)), _shown(metrics, metric), metric)


def _shown(metrics: Mapping[str, float], metric: str) -> str:
    value = metrics.get(metric)
    return size(int(value)) if value is not None and metric.endswith("_bytes") else number(value)


def _strip(side: str, view: EngineView, costs: Sequence[float], scale: float, estimated: bool) -> Strip:
    bars, x = [], 0.0
    per_bar = -(-len(view.kernels) // _BARS) or 1
    for first in range(0, len(view.kernels), per_bar):
        kernels = view.kernels[first : first + per_bar]
        cost = sum(costs[first : first + per_bar])
        dearest = kernels[max(range(len(kernels)), key=lambda at: costs[first + at])]
        more = f" and {len(kernels) - 1} more" if len(kernels) > 1 else ""
        text = f"{visible(_subject(dearest), 200)}{more}: {element_types(dearest)}, {_amount(cost, estimated)}"
        attention = any(each.fused_attention for each in kernels)
        bars.append(KernelBar(round(x * scale, 2), round(cost * scale, 2), type_class(dearest), attention, text))
        x += cost
    total = f"{how_many(len(view.kernels), 'kernel')}, {_amount(x, estimated)}"
    return Strip(f"{'FP32' if side == FP32 else 'mixed'} engine", tuple(bars), total)


def _cost(kernel: Kernel, device: DeviceFigures | None) -> float:
    """The width of a kernel: its seconds on the device, else its bytes."""
    if device is not None:
        return kernel_seconds(kernel, device) or 0.0
    return float(kernel.traffic_bytes or 0)


def _amount(cost: float, estimated: bool) -> str:
    return f"{number(cost * 1e6)} µs" if estimated else size(int(cost))


def _costliest(view: EngineView, device: DeviceFigures | None) -> Iterator[CostlyKernel]:
    for kernel in sorted(view.kernels, key=lambda each: -_cost(each, device))[:COSTLIEST]:
        yield CostlyKernel(
            name=kernel.name,
            kind=kernel.kind,
            nodes=kernel.nodes[:_NODES],
            more=max(0, len(kernel.nodes) - _NODES),
            types=element_types(kernel),
            traffic="–" if kernel.traffic_bytes is None else size(kernel.traffic_bytes),
            microseconds="–" if device is None else number(_cost(kernel, device) * 1e6),
        )


def _subject(kernel: Kernel) -> str:
    """What a kernel stands for in the network: its nodes, else its own name."""
    more = f" and {len(kernel.nodes) - _NODES} more" if len(kernel.nodes) > _NODES else ""
    return f"{', '.join(kernel.nodes[:_NODES])}{more}" if kernel.nodes else kernel.name
