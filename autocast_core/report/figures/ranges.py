"""Dynamic ranges along the network, on an axis where 16-bit formats have their limits in view.

The axis is signed and logarithmic, base 2: zero and everything below FP16's smallest subnormal number, 2**-24, is the
middle line; each factor of two beyond it is one step up (positive) or down (negative).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.plan import PrecisionPlan
from autocast_core.report.network import NodeWiring

FLOOR = -24
"""log2 of FP16's smallest subnormal number (IEEE 754 binary16)."""
FP16_MAX = 16
FP16_NORMAL = -14
BF16_MAX = 128


@dataclass(frozen=True)
class TensorRange:
    """Where one tensor's values lie on the axis; `kept`: a node that reads or writes it stays in FP32; `typical` is its
    root mean square, None where that was not measured."""

    tensor: str
    low: float
    high: float
    kept: bool
    typical: float | None = None

    @property
    def magnitude(self) -> float:
        """Where its largest magnitude lies, on the upper half of the axis."""
        return max(self.high, -self.low)


def position(value: float) -> float:
    """`value` on the axis: sign(x) * (log2 |x| + 24), 0 below 2**-24 and for NaN; infinities lie one step past BF16."""
    if math.isnan(value) or abs(value) <= 2.0**FLOOR:
        return 0.0
    height = BF16_MAX + 1 - FLOOR if math.isinf(value) else math.log2(abs(value)) - FLOOR
    return math.copysign(height, value)


def tensor_ranges(
    plan: PrecisionPlan, statistics: Statistics, wiring: Sequence[NodeWiring] = ()
) -> tuple[TensorRange, ...]:
    """The measured tensors in the order of the network, or of `statistics` without `wiring`. Empty ones are left out.

    Without wiring, a tensor counts as kept where a kept node names it as evidence.
    """
    kept = _kept_tensors(plan, wiring)
    found = []
    for name in _in_order(statistics, wiring):
        stats = statistics.tensors[name]
        if stats.min <= stats.max:
            rms = stats.root_mean_square
            typical = None if rms is None else position(rms)
            found.append(TensorRange(name, position(stats.min), position(stats.max), name in kept, typical))
    return tuple(found)


def columns(ranges: Sequence[TensorRange], count: int) -> tuple[TensorRange, ...]:
    """At most `count` ranges: neighbours share a column, which spans them all and is kept where one of them is."""
    if len(ranges) <= count:
        return tuple(ranges)
    edges = [index * len(ranges) // count for index in range(count + 1)]
    groups = (ranges[start:end] for start, end in pairwise(edges))
    return tuple(
        TensorRange(
            group[0].tensor,
            min(each.low for each in group),
            max(each.high for each in group),
            any(each.kept for each in group),
            min((each.typical for each in group if each.typical is not None), default=None),
        )
        for group in groups
    )


def ticks(ranges: Sequence[TensorRange]) -> tuple[tuple[float, str], ...]:
    """Positions and labels for the axis; BF16's end only where some value passes FP16's."""
    ends = [FP16_NORMAL, 0, FP16_MAX]
    if any(max(each.high, -each.low) > FP16_MAX + 8 - FLOOR for each in ranges):
        ends.append(BF16_MAX)
    names = {0: "1"}
    upper = [(float(end - FLOOR), names.get(end, f"2^{end}")) for end in ends]
    return (*((-at, f"−{label}") for at, label in reversed(upper)), (0.0, "0"), *upper)


def _in_order(statistics: Statistics, wiring: Sequence[NodeWiring]) -> Iterator[str]:
    names = dict.fromkeys(name for node in wiring for name in (*node.inputs, *node.outputs))
    yield from (name for name in names if name in statistics.tensors)
    yield from (name for name in statistics.tensors if name not in names)


def _kept_tensors(plan: PrecisionPlan, wiring: Sequence[NodeWiring]) -> frozenset[str]:
    kept = [decision for decision in plan.nodes if decision.precision is Precision.FP32]
    if not wiring:
        return frozenset(entry.tensor for decision in kept for entry in decision.evidence if entry.tensor)
    ids = {decision.id for decision in kept}
    return frozenset(name for node in wiring if node.id in ids for name in (*node.inputs, *node.outputs))
