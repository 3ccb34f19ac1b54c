"""The ranges of all tensors as a drawing that stays readable for hundreds: a dot for each largest magnitude.

A thin line goes from the dot down to the tensor's root mean square, where it is known. Signs are left out: what decides
is how near the largest magnitudes come to the end of a 16-bit format, and the typical ones to its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.report.content import ReportInput
from autocast_core.report.figures.ranges import (
    FLOOR,
    FP16_MAX,
    FP16_NORMAL,
    TensorRange,
    columns,
    tensor_ranges,
    ticks,
)

WIDTH = 900
_LARGEST = 8
_FULL = FP16_MAX - FLOOR


@dataclass(frozen=True)
class LargeTensor:
    """A line of the table of the largest tensors."""

    tensor: str
    min: float
    max: float
    kept: bool


@dataclass(frozen=True)
class RangeDrawing:
    """Numbers for the drawing, one unit up being a factor of two: paths of the dots and the lines of tensors that FP32
    nodes touch (`kept`) and of the others (`low`), labels of the axis, `limits` of FP16; `beyond` counts the tensors
    past its end, `count` all, `per_column` how many share a dot at most."""

    low_dots: str
    low_lines: str
    kept_dots: str
    kept_lines: str
    width: int
    top: float
    ticks: tuple[tuple[float, str], ...]
    limits: tuple[float, ...]
    count: int
    per_column: int
    beyond: int
    largest: tuple[LargeTensor, ...]


def range_drawing(report: ReportInput) -> RangeDrawing | None:
    """The drawing; None where no tensor was measured."""
    every = tensor_ranges(report.plan, report.statistics, report.network.nodes)
    if not every:
        return None
    drawn = columns(every, WIDTH)
    marks = tuple(mark for mark in ticks(drawn) if mark[0] >= 0)
    return RangeDrawing(
        _dots(drawn, False),
        _lines(drawn, False),
        _dots(drawn, True),
        _lines(drawn, True),
        WIDTH,
        round(max(marks[-1][0], *(each.magnitude for each in drawn)) + 1, 2),
        marks,
        (_FULL, FP16_NORMAL - FLOOR),
        len(every),
        -(-len(every) // len(drawn)),
        sum(each.magnitude > _FULL for each in every),
        tuple(_large(each, report.statistics.tensors[each.tensor]) for each in _largest(every)),
    )


def _largest(every: Sequence[TensorRange]) -> list[TensorRange]:
    return sorted(every, key=lambda each: -each.magnitude)[:_LARGEST]


def _large(drawn: TensorRange, stats: TensorStats) -> LargeTensor:
    return LargeTensor(drawn.tensor, stats.min, stats.max, drawn.kept)


def _dots(drawn: Sequence[TensorRange], kept: bool) -> str:
    """Strokes without length, which round ends make dots."""
    return "".join(f"M{_x(at, drawn)} {-each.magnitude:.2f}h0" for at, each in enumerate(drawn) if each.kept is kept)


def _lines(drawn: Sequence[TensorRange], kept: bool) -> str:
    return "".join(
        f"M{_x(at, drawn)} {-each.magnitude:.2f}V{-each.typical:.2f}"
        for at, each in enumerate(drawn)
        if each.kept is kept and each.typical is not None
    )


def _x(at: int, drawn: Sequence[TensorRange]) -> str:
    return f"{(at + 0.5) * WIDTH / len(drawn):.1f}"
