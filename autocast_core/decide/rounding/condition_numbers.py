"""Condition numbers of operators at the ranges that calibration saw.

A relative error e of the input becomes one of e·c in the output, c being the condition number |x·f'(x) / f(x)| (Higham,
Accuracy and Stability of Numerical Algorithms, section 1.6), here from the magnitudes of whole tensors, of which the
relative L2 of the output is. All other operators are taken for well conditioned: quotients, roots and saturating
functions (c up to 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.statistics import StatsOf, TensorStats
from autocast_core.config import Precision
from autocast_core.decide.depth import reduction_depth
from autocast_core.decide.exact_quantities.exact_values import WHOLE_LIMIT, ExactValues
from autocast_core.graph.constants import constant_tensor, scalar, small_array
from autocast_core.operators.facts import operator_facts
from autocast_core.operators.families import MOVES_ELEMENTS, is_in

_PIXELS = 0.25
"""Neighbouring pixels are taken to differ by this share of their magnitude: what a coordinate one pixel off costs."""


_CANCELS = 8.0
"""A sum whose operands are at most so many times as large as the result is not looked at further: no limit is lower."""


DEPTH = 3
"""Computing nodes that are kept behind an operand: so many save every hazard of tests/hazards that cancels."""


_LARGEST_READ = 1 << 20
"""Elements of a weight that is read again, which is rarely needed."""


class Condition(NamedTuple):
    """A bound of a condition number, the operands to whose rounding it applies, and of how many computing nodes behind
    them the roundings are amplified alike."""

    number: float
    operands: list[ir.Value]
    depth: int = DEPTH


class Knowledge(NamedTuple):
    """What is known of values: their statistics, which are exact by meaning, the low precision, and how much lower than
    for FP16 the limits are for it."""

    stats_of: StatsOf
    exact: ExactValues
    precision: Precision
    limit_scale: float = 1.0

    def is_exact(self, value: ir.Value) -> bool:
        """Whether the low type holds every element, as far as the graph and the data tell."""
        stats = self.stats_of(value)
        whole = value in self.exact.whole or value in self.exact.rounded
        if whole and stats is not None and stats.absmax <= WHOLE_LIMIT[self.precision]:
            return True
        if constant_tensor(value) is not None:
            array = small_array(value)
            if array is None:
                return False
            with np.errstate(over="ignore"):
                return bool(np.array_equal(array, array.astype(self.precision.numpy).astype(array.dtype)))
        return stats is not None and stats.rounding_sum_squares == 0.0

    def ratio(self, value: ir.Value, result: ir.Value) -> float:
        """How much larger `value` is than `result`: by root mean squares, measured or guessed from ranges."""
        one, other = self.stats_of(value), self.stats_of(result)
        if one is None or other is None:
            return 0.0
        sizes = one.root_mean_square, other.root_mean_square
        above, below = (_guessed_rms(one), _guessed_rms(other)) if None in sizes else sizes
        return above / below if above and below and math.isfinite(above) and math.isfinite(below) else 0.0

    def offset(self, value: ir.Value) -> float:
        """How much larger the numbers are than their differences: the least magnitude over the range; 0 around zero."""
        stats = self.stats_of(value)
        if stats is None or not (math.isfinite(stats.min) and math.isfinite(stats.max)):
            return 0.0
        least = max(stats.min, -stats.max, 0.0)
        return least / (stats.max - stats.min) if stats.max > stats.min else 0.0


def _sum(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / |x ± z|, of the operands that are not exact."""
    result = node.outputs[0]
    # Most sums end here: the bound costs a tenth of the rest, which large graphs have thousands of times.
    above, below = 0.0, _size(known.stats_of(result))
    for value in node.inputs:
        stats = known.stats_of(value)
        if stats is not None:
            above += max(stats.max, -stats.min)
    if not below or above <= _CANCELS * known.limit_scale * below:
        return None
    noisy = [value for value in node.inputs if value is not None and not known.is_exact(value)]
    return Condition(math.hypot(*(known.ratio(value, result) for value in noisy)), noisy)


def _sum_of_products(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = √n |x| |w| / |Σ x·w|, of n addends whose rounding errors are independent.

    Only where root mean squares were measured: maxima say little of sums.
    """
    first, second = node.inputs[:2]
    x, w, y = (known.stats_of(value) for value in (first, second, node.outputs[0]))
    if first is None or second is None or x is None or w is None or y is None:
        return None
    above, below = x.root_mean_square, y.root_mean_square
    addends = reduction_depth(node) if above and below else None
    if not above or not below or not addends:
        return None
    others = math.sqrt(addends) * above / below
    if others * w.absmax <= _CANCELS * known.limit_scale:
        return Condition(others * w.absmax, [])
    return Condition(others * (w.root_mean_square or _constant_rms(second)), [first, second])


def _reduction(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = √n |x| / |Σ x|, of n addends whose rounding errors are independent."""
    x, y = known.stats_of(node.inputs[0]), known.stats_of(node.outputs[0])
    above, below = (stats.root_mean_square if stats is not None else None for stats in (x, y))
    if x is None or y is None or not above or not below or not y.count:
        return None
    addends = x.count / y.count
    total = below * addends if node.op_type == "ReduceMean" else below
    return Condition(math.sqrt(addends) * above / total, _first(node))


def _comparison(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / |x - z|, where all numbers lie far from zero and the two ranges meet."""
    ranges = [known.stats_of(value) for value in node.inputs]
    if any(stats is None for stats in ranges) or not _meet(*(stats for stats in ranges if stats is not None)):
        return None
    operands = [value for value in node.inputs if value is not None and constant_tensor(value) is None]
    return Condition(max(map(known.offset, operands), default=0.0), operands)


def _meet(one: TensorStats, other: TensorStats) -> bool:
    """Whether there may be a number of one tensor between numbers of the other."""
    return one.min <= other.max and other.min <= one.max


def _normalization(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / |x - mean|, where all elements lie far from zero."""
    return _of_first(node, known.offset)


def _batch_normalization(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x·scale/σ| / |y|, of the root mean squares over channels."""
    scale, variance = (small_array(value) for value in (node.inputs[1], node.inputs[4]))
    x, y = known.stats_of(node.inputs[0]), known.stats_of(node.outputs[0])
    if scale is None or variance is None or x is None or y is None:
        return None
    above, below = _size(x), _size(y)
    gain = math.sqrt(float(np.mean(scale.astype(np.float64) ** 2 / np.maximum(variance, 1e-30))))
    return Condition(above * gain / below, _first(node)) if above and below else None


def _softmax(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| of the scores of every element, where all lie far from zero: the result depends on their differences."""
    stats = known.stats_of(node.inputs[0])
    least = max(stats.min, -stats.max, 0.0) if stats is not None else 0.0
    return Condition(least, _first(node)) if math.isfinite(least) else None


def _log(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = 1 / |log x|."""
    size = _size(known.stats_of(node.outputs[0]))
    return Condition(1.0 / size, _first(node)) if size else None


def _exp(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x|, at the largest results."""
    stats = known.stats_of(node.inputs[0])
    return Condition(abs(stats.max), _first(node)) if stats is not None and math.isfinite(stats.max) else None


def _pow(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |exponent|."""
    return Condition(abs(scalar(node.inputs[1]) or 0.0), _first(node))


def _inverse_cosine(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / (√(1 - x²) |acos x|) = |cos y / (y sin y)|, at a result y of the tensor's magnitude; so for Acosh."""
    size = _size(known.stats_of(node.outputs[0]))
    return Condition(1.0 / size**2, _first(node)) if size else None


def _modulo(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / |x mod z|."""
    return _of_first(node, lambda value: known.ratio(value, node.outputs[0]))


def _periodic(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = |x| / |sin x|; of angles that calibration saw, those of positions are a rule's of their own."""
    if node.inputs[0] in known.exact.positions:
        return None
    return _of_first(node, lambda value: known.ratio(value, node.outputs[0]))


def _grid_sample(node: ir.Node, known: Knowledge) -> Condition | None:
    """A coordinate of magnitude 1 is half the image: c = size / 2 pixels."""
    image, grid = node.inputs[0], node.inputs[1]
    if image is None or grid is None or image.shape is None:
        return None
    sizes = [size for size in image.shape[2:] if isinstance(size, int)]
    return Condition(max(sizes, default=0) / 2 * _PIXELS, [grid])


def _regions(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = the largest coordinate in pixels of the feature map."""
    boxes = node.inputs[1]
    stats = known.stats_of(boxes)
    if boxes is None or stats is None or not math.isfinite(stats.absmax):
        return None
    return Condition(stats.absmax * node.attributes.get_float("spatial_scale", 1.0) * _PIXELS, [boxes])


def _offsets(node: ir.Node, known: Knowledge) -> Condition | None:
    """c = the largest offset in pixels."""
    offsets = node.inputs[2]
    stats = known.stats_of(offsets)
    if offsets is None or stats is None or not math.isfinite(stats.absmax):
        return None
    return Condition(stats.absmax * _PIXELS, [offsets])


def _choice(node: ir.Node, known: Knowledge) -> Condition | None:
    """What compares numbers needs their differences.

    c = |x| / |x - z|, where all lie far from zero; behind a Sigmoid or Softmax, whose results crowd below 1, what its
    rounding costs as a rounding of the scores s before it: 1 / ((1 - x)·|s|) with x = 1 / (1 + exp -s), at the largest.
    """
    place = operator_facts().decides_by[node.op_type][0]
    value = node.inputs[place] if place < len(node.inputs) else None
    if value is None:
        return None
    stats = known.stats_of(value)
    if stats is not None and 0.5 < stats.max < 1.0 and _is_probability(value):
        # The scores' own roundings are not amplified.
        return Condition(1.0 / ((1.0 - stats.max) * math.log(stats.max / (1.0 - stats.max))), [value], depth=1)
    return Condition(known.offset(value), [value])


def _is_probability(value: ir.Value) -> bool:
    node = value.producer()
    while node is not None and is_in(node, MOVES_ELEMENTS) and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node is not None and node.domain == "" and node.op_type in ("Sigmoid", "Softmax")


CONDITIONS: Mapping[str, Callable[[ir.Node, Knowledge], Condition | None]] = {
    "Acos": _inverse_cosine,
    "Acosh": _inverse_cosine,
    "Add": _sum,
    "BatchNormalization": _batch_normalization,
    "Conv": _sum_of_products,
    "ConvTranspose": _sum_of_products,
    "Cos": _periodic,
    "DeformConv": _offsets,
    "Exp": _exp,
    "Gemm": _sum_of_products,
    "GridSample": _grid_sample,
    "GroupNormalization": _normalization,
    "InstanceNormalization": _normalization,
    "LayerNormalization": _normalization,
    "Greater": _comparison,
    "GreaterOrEqual": _comparison,
    "Less": _comparison,
    "LessOrEqual": _comparison,
    "Log": _log,
    "LogSoftmax": _softmax,
    "MatMul": _sum_of_products,
    "MaxRoiPool": _regions,
    "MeanVarianceNormalization": _normalization,
    "Mod": _modulo,
    "Pow": _pow,
    "ReduceMean": _reduction,
    "ReduceSum": _reduction,
    "RoiAlign": _regions,
    "Sin": _periodic,
    "Softmax": _softmax,
    "Sub": _sum,
    "Tan": _periodic,
} | dict.fromkeys(operator_facts().decides_by, _choice)
"""By operator of ONNX's default domain: its condition number, None where nothing is known."""


def _of_first(node: ir.Node, number: Callable[[ir.Value], float]) -> Condition | None:
    operands = _first(node)
    return Condition(number(operands[0]), operands) if operands else None


def _first(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs[:1] if value is not None]


def _guessed_rms(stats: TensorStats) -> float:
    """The middle of a range beside zero; of one around zero a third of its extreme, as of normal numbers."""
    if stats.min > 0.0 or stats.max < 0.0:
        return abs(stats.min + stats.max) / 2.0
    return stats.absmax / 3.0


def _constant_rms(value: ir.Value) -> float:
    """Of a constant that is not too large to be read again; 0 of any other value."""
    tensor = constant_tensor(value)
    if tensor is None or tensor.size > _LARGEST_READ:
        return 0.0
    return math.sqrt(float(np.mean(np.square(tensor.numpy(), dtype=np.float64))))


def _size(stats: TensorStats | None) -> float:
    """The root mean square where it was measured, else the largest magnitude; 0 where no finite one is known."""
    if stats is None or stats.min == -math.inf or stats.max == math.inf:
        return 0.0
    measured = stats.root_mean_square
    return stats.absmax if measured is None else measured
