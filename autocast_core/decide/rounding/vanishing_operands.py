"""Positive numbers that become zero in front of a Log or in a denominator, where what they are computed from is
`headroom` times larger than calibration saw it.

The other end of the margin (`overflow_margins`): with larger scores the least of a Softmax, p, becomes about p^h, so do
results of Exp and Sigmoid below 1; all other numbers may get h times smaller. FP32 holds them down to 1e-45, FP16 to
6e-8, and log 0 or 1/0 ruins what comes after.

- Looks at Log, Reciprocal, Pow with a negative exponent and the denominator of Div, whose operand was positive
  throughout, and follows it through what moves elements to the node that computes it.
- Leaves operands with a constant guard to rule ``guards``, and what was zero already to the reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.calibrate.statistics import StatsOf
from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.operators.families import MOVES_ELEMENTS, is_in

_TAKES: Mapping[str, int] = {"Log": 0, "Reciprocal": 0, "Div": 1, "Pow": 0}
_EXPONENTIAL = frozenset({"Exp", "Sigmoid", "Softmax"})


class Vanishing(NamedTuple):
    """A `tensor` (its name) whose `least` number may become `smaller` and zero in front of an `operator`."""

    tensor: str
    least: float
    smaller: float
    operator: str


def find_vanishing_operands(
    nodes: Iterable[ir.Node],
    stats_of: StatsOf,
    headroom: float,
    largest_zero: float,
) -> dict[ir.Node, Vanishing]:
    """The nodes among `nodes` from where a number is computed to where its zero would do harm, each with why.

    Numbers up to `largest_zero` round to zero in the low type.
    """
    found: dict[ir.Node, Vanishing] = {}
    for node in nodes:
        value = _protected(node)
        stats = stats_of(value)
        if value is None or stats is None or not 0.0 < stats.min <= stats.max < float("inf"):
            continue
        path = [node]
        origin: ir.Value | None = value
        while origin is not None and (producer := origin.producer()) is not None:
            path.append(producer)
            if not is_in(producer, MOVES_ELEMENTS):
                break
            origin = producer.inputs[0]
        exponential = is_in(path[-1], _EXPONENTIAL) and stats.min < 1.0
        smaller = stats.min**headroom if exponential else stats.min / headroom
        if smaller <= largest_zero:
            why = Vanishing(value.name or "", stats.min, smaller, node.op_type)
            for each in path:
                found.setdefault(each, why)
    return found


def _protected(node: ir.Node) -> ir.Value | None:
    """The computed operand of which a zero would do harm at the node."""
    place = _TAKES.get(node.op_type) if node.domain == "" else None
    if place is None or place >= len(node.inputs):
        return None
    if node.op_type == "Pow" and not (scalar(node.inputs[1]) or 0.0) < 0.0:
        return None
    value = node.inputs[place]
    return None if value is None or constant_tensor(value) is not None else value
