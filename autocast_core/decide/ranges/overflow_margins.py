"""How large tensors get where what they are computed from is `headroom` times larger than calibration saw it.

The margin h is on the side of the arguments: for y = f(x) the largest result is that of h·x, so

- exp(h·x) for Exp, b^(h·x) for Pow of a constant base, h^p·y for Pow with the constant exponent p > 0;
- h·h·y for a product of two tensors, elementwise or summed up, and h³·y for (x·x)·x, and so on;
- h·y for everything else, which is linear or grows more slowly, and y where the result is bounded (Sigmoid, Softmax) or
  constant.

Sums, scalings and movements hand the larger growth on; a sum of products with weights does not, since its result is a
tensor of its own that gets h times as large.

- What would overflow does no harm where infinity gives the right limit: in Tanh, Sigmoid, Erf, behind 1/x, a Clip or a
  comparison. So the cube in GELU and the Exp in a written-out Sigmoid may overflow.
- Does not look through bodies of control flow: their tensors have the margin of any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from autocast_core.calibrate.statistics import StatsOf
from autocast_core.decide.exact_quantities.exact_values import COMPARISONS
from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.operators.families import BOUNDED, CARRIES, CONSTANTS, SUMS_PRODUCTS, numbers_of

_SUMS = frozenset({"Add", "Sub", "Sum", "ReduceSum", "ReduceMean", "ReduceL1"})
_ABSORBS = frozenset({"Atan", "Erf", "HardSigmoid", "Reciprocal", "Sigmoid", "Tanh"}) | COMPARISONS
"""Operators that make of infinity what they make of very large numbers, to rounding."""
_PASSES = CARRIES | {"Add", "Sub", "Mul", "Exp", "Pow", "Sqrt"}
"""Operators that hand on an infinity, which may be absorbed behind them."""
_LARGEST_EXPONENT = 700.0


def find_overflows(
    nodes: Iterable[ir.Node], stats_of: StatsOf, headroom: float, largest: float
) -> dict[ir.Value, float]:
    """The values of `nodes` (each before its readers) that would exceed `largest`, and do harm there, each with the
    magnitude that it may reach."""
    found = _Growth(stats_of, headroom)
    reached: dict[ir.Value, float] = {}
    for node in nodes:
        growth = found.of_result(node) if node.domain == "" else headroom
        for value in node.outputs:
            stats = stats_of(value)
            if stats is None or not math.isfinite(stats.absmax) or constant_tensor(value) is not None:
                continue
            found.by_value[value] = growth
            if stats.absmax * growth > largest:
                reached[value] = stats.absmax * growth
    return {value: magnitude for value, magnitude in reached.items() if not _is_absorbed(value, reached)}


@dataclass
class _Growth:
    """By how much values grow; `products` are those that several factors grow in."""

    stats_of: StatsOf
    headroom: float
    by_value: dict[ir.Value, float] = field(default_factory=dict)
    products: set[ir.Value] = field(default_factory=set)

    def of_result(self, node: ir.Node) -> float:
        """By how much output 0 grows; notes whether it is a product."""
        kind, operands = node.op_type, [value for value in numbers_of(node) if constant_tensor(value) is None]
        if kind in BOUNDED or kind in CONSTANTS or kind == "Reciprocal" or _is_cut(node):
            return 1.0
        if kind in CARRIES or kind in _SUMS:
            if any(value in self.products for value in operands):
                self.products.add(node.outputs[0])
            return max(map(self._of, operands), default=1.0)
        if kind == "Exp":
            return self._exponential(node, math.e)
        if kind == "Pow":
            return self._power(node)
        if kind == "Sqrt":
            return math.sqrt(self._factor(operands[0])) if operands else 1.0
        if kind == "ReduceSumSquare":
            return self._product([*operands, *operands], node)
        if kind in SUMS_PRODUCTS or kind == "Mul":
            return self._product(operands, node) if len(operands) > 1 or kind == "Mul" else self.headroom
        if kind == "Div":
            return self._quotient(node)
        return self.headroom

    def _of(self, value: ir.Value) -> float:
        return self.by_value.get(value, self.headroom)

    def _factor(self, value: ir.Value) -> float:
        """By how much a factor grows: as any tensor, unless it is itself a product, or bounded."""
        grown = self._of(value)
        return grown if value in self.products or grown < self.headroom else self.headroom

    def _product(self, operands: list[ir.Value], node: ir.Node) -> float:
        if len(operands) == 1:  # the other is a constant
            if operands[0] in self.products:
                self.products.add(node.outputs[0])
            return self._of(operands[0])
        self.products.add(node.outputs[0])
        return math.prod(map(self._factor, operands))

    def _quotient(self, node: ir.Node) -> float:
        """As its numerator, unless the denominator grows alike (the exponentials of a written-out Softmax)."""
        numerator, denominator = node.inputs[:2]
        if numerator is None or denominator is None or constant_tensor(numerator) is not None:
            return 1.0
        grown = self._of(numerator)
        if constant_tensor(denominator) is not None:
            return grown
        return self.headroom if self._of(denominator) > self.headroom else grown

    def _power(self, node: ir.Node) -> float:
        base, exponent = (scalar(value) for value in node.inputs[:2])
        if exponent is not None and node.inputs[0] is not None:
            self.products.add(node.outputs[0])
            return float(max(1.0, self._factor(node.inputs[0]) ** min(exponent, 30.0)))
        return self._exponential(node, base) if base is not None and base > 1.0 else self.headroom

    def _exponential(self, node: ir.Node, base: float) -> float:
        argument = self.stats_of(node.inputs[0] if node.op_type == "Exp" else node.inputs[1])
        result = self.stats_of(node.outputs[0])
        self.products.add(node.outputs[0])
        if argument is None or result is None or not result.absmax or not math.isfinite(argument.max):
            return self.headroom
        power = min(max(argument.max, 0.0) * self.headroom * math.log(base), _LARGEST_EXPONENT)
        return max(1.0, math.exp(power) / result.absmax)


def _is_absorbed(value: ir.Value, reached: dict[ir.Value, float]) -> bool:
    """Whether every reader of `value` makes of its infinities what it makes of large numbers."""
    pending, seen = [value], {value}
    while pending:
        top = pending.pop()
        if top.is_graph_output() or not top.uses():
            return False
        for node, index in top.uses():
            if node.domain != "":
                return False
            others = [each for each in node.inputs if each is not None and each not in seen]
            if _absorbs(node, index) and not any(each in reached for each in others):
                continue
            if node.op_type not in _PASSES or any(each in reached for each in others) or not _keeps_sign(node, index):
                return False
            new = [each for each in node.outputs if each not in seen]
            seen.update(new)
            pending.extend(new)
    return True


def _absorbs(node: ir.Node, index: int) -> bool:
    if node.op_type == "Div":
        return index == 1
    return node.op_type in _ABSORBS or _is_cut(node)


def _is_cut(node: ir.Node) -> bool:
    """Whether a constant bounds the result from above."""
    bounds = {"Clip": node.inputs[2:3], "Min": node.inputs}.get(node.op_type, ())
    return any(scalar(value) is not None for value in bounds)


def _keeps_sign(node: ir.Node, index: int) -> bool:
    """Whether an infinity passes as one: times a constant other than 0, to a power, but not times a tensor."""
    if node.op_type == "Mul":
        return bool(scalar(node.inputs[1 - index]))
    return node.op_type != "Pow" or index == 0
