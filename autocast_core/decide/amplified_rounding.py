"""Nodes that amplify the rounding of what they read, at the ranges that calibration saw.

One principle: a relative error e of the input becomes one of e·c in the output, c being the condition number
|x·f'(x) / f(x)| (Higham, Accuracy and Stability of Numerical Algorithms, section 1.6), here from the magnitudes of
whole tensors. Where c exceeds AMPLIFICATION_LIMIT, what the node reads must not be rounded: the node, and what computes
its operands up to DEPTH computing nodes back, whose roundings are amplified alike.

- Looks at the operators of `_CONDITION`; all others are taken for well conditioned, products, quotients and roots (c up
  to 1) and sums of many addends, whose rounding errors average out, among them.
- Numbers that the low type holds exactly bring no error, and nothing is followed through them.
- Knows whole tensors only: not a few elements that cancel among many that do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.decide.exact_values import WHOLE_LIMIT, ExactValues
from autocast_core.graph.constants import constant_tensor, scalar, small_array
from autocast_core.operators import element_type
from autocast_core.operators.families import CONTROL_FLOW, HANDS_ON, is_in

AMPLIFICATION_LIMIT = 2.0**3.8
"""Rounding to FP16 costs a relative L2 of about 2**-12.8; times this it is 2**-9, the limit of `small_values`."""

DEPTH = 3
"""Computing nodes that are kept behind an operand: so many save every hazard of tests/hazards that cancels."""

_PIXELS = 0.25
"""Neighbouring pixels are taken to differ by this share of their magnitude: what a coordinate one pixel off costs."""


class Amplification(NamedTuple):
    """Why a node must not round: `node` (a name), an `operator`, multiplies the rounding of `tensor` by `factor`."""

    node: str
    operator: str
    tensor: str
    factor: float


class Knowledge(NamedTuple):
    """What is known of values: their statistics, which are exact by meaning, and the low precision."""

    stats_of: Callable[[ir.Value | None], TensorStats | None]
    exact: ExactValues
    precision: Precision

    def is_exact(self, value: ir.Value) -> bool:
        """Whether the low type holds every element, as far as the graph and the data tell."""
        stats = self.stats_of(value)
        if stats is not None and value in self.exact.whole and stats.absmax <= WHOLE_LIMIT[self.precision]:
            return True
        if constant_tensor(value) is not None:
            array = small_array(value)
            if array is None:
                return False
            with np.errstate(over="ignore"):
                return bool(np.array_equal(array, array.astype(self.precision.numpy).astype(array.dtype)))
        return stats is not None and stats.rounding_sum_squares == 0.0

    def ratio(self, value: ir.Value, result: ir.Value) -> float:
        """How much larger `value` is than `result`: by their root mean squares where both are known, else by maxima."""
        one, other = self.stats_of(value), self.stats_of(result)
        if one is None or other is None:
            return 0.0
        sizes = _rms(one), _rms(other)
        above, below = (one.absmax, other.absmax) if None in sizes else sizes
        return above / below if above and below and math.isfinite(above) and math.isfinite(below) else 0.0


def find_amplified_rounding(nodes: Iterable[ir.Node], known: Knowledge) -> dict[ir.Node, Amplification]:
    """The nodes that amplify the rounding of an operand over the limit, and those that compute it, each with why."""
    found: dict[ir.Node, Amplification] = {}
    depths: dict[ir.Node, int] = {}
    for node in nodes:
        condition = _CONDITION.get(node.op_type)
        if condition is None or node.domain != "":
            continue
        factor, operands = condition(node, known)
        if factor <= AMPLIFICATION_LIMIT:
            continue
        noisy = [value for value in operands if not known.is_exact(value)]
        if not noisy:
            continue
        why = Amplification(node.name or "", node.op_type, noisy[0].name or "", factor)
        found[node], depths[node] = why, DEPTH + 1
        _keep_sources(noisy, why, known, found, depths)
    return found


def _keep_sources(
    operands: Iterable[ir.Value],
    why: Amplification,
    known: Knowledge,
    found: dict[ir.Node, Amplification],
    depths: dict[ir.Node, int],
) -> None:
    """Backward from `operands`, up to DEPTH computing nodes; what only moves or scales elements does not count."""
    pending = [(value, DEPTH) for value in operands]
    while pending:
        value, depth = pending.pop()
        node = value.producer()
        if node is None or node.op_type in CONTROL_FLOW or element_type(value) != ir.DataType.FLOAT:
            continue
        left = depth if is_in(node, HANDS_ON) or _scales(node) else depth - 1
        if depths.get(node, -1) >= left or left < 0:
            continue
        depths[node] = left
        found.setdefault(node, why)
        pending.extend((each, left) for each in node.inputs if each is not None and _is_followed(each, known))


def _scales(node: ir.Node) -> bool:
    """Whether the node multiplies by one constant number."""
    return node.domain == "" and node.op_type in ("Mul", "Div") and any(scalar(value) for value in node.inputs)


def _is_followed(value: ir.Value, known: Knowledge) -> bool:
    return value not in known.exact.positions and value.producer() is not None and not known.is_exact(value)


Condition = tuple[float, list[ir.Value]]
"""A bound of the condition number, and the operands to whose rounding it applies."""


def _sum(node: ir.Node, known: Knowledge) -> Condition:
    """c = |x| / |x ± z|, of the operands that are not exact."""
    result = node.outputs[0]
    # Most sums end here: the bound costs a tenth of the rest, which large graphs have thousands of times.
    above, below = 0.0, _size(known.stats_of(result))
    for value in node.inputs:
        stats = known.stats_of(value)
        if stats is not None:
            above += max(stats.max, -stats.min)
    if not below or above <= AMPLIFICATION_LIMIT * below:
        return 0.0, []
    noisy = [value for value in node.inputs if value is not None and not known.is_exact(value)]
    return math.hypot(*(known.ratio(value, result) for value in noisy)), noisy


def _log(node: ir.Node, known: Knowledge) -> Condition:
    """c = 1 / |log x|."""
    size = _size(known.stats_of(node.outputs[0]))
    return 1.0 / size if size else 0.0, _first(node)


def _exp(node: ir.Node, known: Knowledge) -> Condition:
    """c = |x|, at the largest results."""
    value = node.inputs[0]
    stats = known.stats_of(value) if value is not None else None
    return abs(stats.max) if stats is not None and math.isfinite(stats.max) else 0.0, _first(node)


def _pow(node: ir.Node, known: Knowledge) -> Condition:
    """c = |exponent|."""
    return abs(scalar(node.inputs[1]) or 0.0), _first(node)


def _mod(node: ir.Node, known: Knowledge) -> Condition:
    """c = |x| / |x mod z|."""
    operands = _first(node)
    return known.ratio(operands[0], node.outputs[0]) if operands else 0.0, operands


def _periodic(node: ir.Node, known: Knowledge) -> Condition:
    """c = |x| / |sin x| for the large angles that make up the result."""
    operands = _first(node)
    if not operands or operands[0] in known.exact.positions:
        return 0.0, []
    stats = known.stats_of(operands[0])
    return stats.absmax if stats is not None and math.isfinite(stats.absmax) else 0.0, operands


def _grid_sample(node: ir.Node, known: Knowledge) -> Condition:
    """A coordinate of magnitude 1 is half the image: c = size / 2 pixels."""
    image, grid = node.inputs[0], node.inputs[1]
    if image is None or grid is None or image.shape is None:
        return 0.0, []
    sizes = [size for size in image.shape[2:] if isinstance(size, int)]
    return max(sizes, default=0) / 2 * _PIXELS, [grid]


def _roi_align(node: ir.Node, known: Knowledge) -> Condition:
    """c = the largest coordinate in pixels of the feature map."""
    boxes = node.inputs[1]
    stats = known.stats_of(boxes) if boxes is not None else None
    if boxes is None or stats is None or not math.isfinite(stats.absmax):
        return 0.0, []
    return stats.absmax * node.attributes.get_float("spatial_scale", 1.0) * _PIXELS, [boxes]


_CONDITION: Mapping[str, Callable[[ir.Node, Knowledge], Condition]] = {
    "Add": _sum,
    "Sub": _sum,
    "Log": _log,
    "Exp": _exp,
    "Pow": _pow,
    "Mod": _mod,
    "Sin": _periodic,
    "Cos": _periodic,
    "GridSample": _grid_sample,
    "RoiAlign": _roi_align,
}


def _first(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs[:1] if value is not None]


def _rms(stats: TensorStats) -> float | None:
    if stats.sum_squares is None or not stats.examined:
        return None
    return math.sqrt(stats.sum_squares / stats.examined)


def _size(stats: TensorStats | None) -> float:
    """The root mean square where it was measured, else the largest magnitude; 0 where no finite one is known."""
    if stats is None or stats.min == -math.inf or stats.max == math.inf:
        return 0.0
    if stats.sum_squares is None or not stats.examined:
        return stats.absmax
    return math.sqrt(stats.sum_squares / stats.examined)
