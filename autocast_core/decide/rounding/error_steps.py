"""What an operator makes of a small absolute error of an operand, and beside what magnitude the error vanishes there.

- Bounds the error by largest slopes, magnitudes of other operands and numbers of addends, from shapes and statistics.
- Errors of both signs average out over the addends of a sum; errors of one sign add up.
- Knows the operators of `_STEPS`, `_SLOPES` and those that only move elements; of others nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.calibrate.statistics import StatsOf, TensorStats
from autocast_core.decide.depth import reduction_depth
from autocast_core.graph.constants import scalar
from autocast_core.operators import element_type
from autocast_core.operators.families import CONTROL_FLOW, FILLS, MOVES_ELEMENTS, is_in

NOISE = 2.0**-12.8
"""The relative L2 of rounding a tensor of normal numbers to FP16."""

NORMALIZES_CHANNELS = frozenset({"BatchNormalization", "InstanceNormalization", "GroupNormalization"})
"""Operators that scale each channel by its own deviation."""


class Loss(NamedTuple):
    """The error of an element of a tensor: `spread`, its root mean square, and `shift`, its mean where that is known
    to be of one sign."""

    spread: float
    shift: float

    @property
    def size(self) -> float:
        """Both together."""
        return math.hypot(self.spread, self.shift)

    def scaled(self, factor: float, addends: float = 1.0) -> Loss:
        """The error of a sum of `addends` elements, each times `factor`."""
        return Loss(self.spread * factor * math.sqrt(addends), self.shift * factor * addends)


class ErrorStep(NamedTuple):
    """The `loss` of a reader's outputs; `beside`: the magnitude of what it is absorbed in there, 0 where it is not."""

    loss: Loss
    beside: float = 0.0

    @property
    def absorbs(self) -> bool:
        """Whether the error is no more than that of rounding what is beside it."""
        return self.loss.size <= NOISE * self.beside


NOTHING = ErrorStep(Loss(0.0, 0.0), math.inf)
"""For a reader whose outputs do not depend on the elements."""


def step_of(node: ir.Node, index: int, loss: Loss, stats_of: StatsOf) -> ErrorStep | None:
    """What `node` makes of the loss of its input `index`; None where that is not known."""
    if node.domain != "" or node.op_type in CONTROL_FLOW:
        return None
    step = _STEPS.get(node.op_type)
    if step is not None:
        return step(_Reader(node, index, stats_of), loss)
    if is_in(node, MOVES_ELEMENTS) or is_in(node, FILLS):
        return ErrorStep(loss) if index == 0 else None
    slope = _SLOPES.get(node.op_type)
    return None if slope is None else ErrorStep(loss.scaled(slope))


_SLOPES: Mapping[str, float] = {
    **dict.fromkeys(("Abs", "Neg", "Relu", "Concat", "Max", "Min", "Where", "Clip", "MaxPool", "ReduceMax"), 1.0),
    **dict.fromkeys(("GlobalMaxPool", "ReduceMin", "Tanh", "Erf", "Sin", "Cos", "Atan", "Softsign", "Dropout"), 1.0),
    **dict.fromkeys(("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "HardSigmoid", "Softplus", "Sigmoid"), 1.0),
    **dict.fromkeys(("Gelu", "HardSwish", "Swish", "Mish", "Resize", "Upsample"), 1.5),
    "Selu": 2.0,
}
"""Largest slopes of functions of elements, rounded up (LeakyRelu and Elu: of an alpha up to 1); Resize and Upsample:
the sum of the magnitudes of cubic weights."""


@dataclass(frozen=True)
class _Reader:
    """A node that reads a lossy value at `index`, and what is known of the values at it."""

    node: ir.Node
    index: int
    stats_of: StatsOf

    def stats(self, index: int) -> TensorStats | None:
        return self.stats_of(self.node.inputs[index]) if index < len(self.node.inputs) else None

    @property
    def out(self) -> float:
        """The root mean square of the first output, 0 where it is not known."""
        return rms(self.stats_of(self.node.outputs[0]))

    def largest(self, index: int) -> float | None:
        stats = self.stats(index)
        return stats.absmax if stats is not None and math.isfinite(stats.absmax) else None

    def least(self, index: int) -> float | None:
        """The smallest magnitude of an operand of one sign, else None."""
        stats = self.stats(index)
        if stats is None:
            return None
        least = max(stats.min, -stats.max)
        return least if least > 0.0 and math.isfinite(least) else None

    def addends(self) -> float | None:
        """How many products or elements one output element sums: by shapes, else by numbers of elements."""
        depth = reduction_depth(self.node)
        if depth is not None:
            return depth
        given, made = self.stats(0), self.stats_of(self.node.outputs[0])
        if given is None or made is None or not made.count:
            return None
        if self.node.op_type != "MatMul":
            return given.count / made.count if self.node.op_type.startswith(("Reduce", "Global")) else None
        right = self.node.inputs[1]
        columns = right.shape[-1] if right is not None and right.shape is not None and len(right.shape) > 1 else None
        return given.count / made.count * columns if isinstance(columns, int) else None


def _add(reader: _Reader, loss: Loss) -> ErrorStep:
    """An addend is absorbed beside the others, unless these cancel it."""
    others = (rms(reader.stats(i)) for i, v in enumerate(reader.node.inputs) if i != reader.index and v is not None)
    return ErrorStep(loss, min(max(others, default=0.0), reader.out))


def _mul(reader: _Reader, loss: Loss) -> ErrorStep | None:
    inputs = reader.node.inputs
    factor = reader.largest(1 - reader.index)
    if factor is None:
        return None
    return ErrorStep(loss.scaled(2.0 * factor if inputs[0] is inputs[1] else factor))


def _div(reader: _Reader, loss: Loss) -> ErrorStep | None:
    least = reader.least(1)
    if least is None:
        return None
    if reader.index == 0:
        return ErrorStep(loss.scaled(1.0 / least))
    numerator = reader.largest(0)
    return None if numerator is None else ErrorStep(loss.scaled(numerator / least**2), reader.out)


def _reciprocal(reader: _Reader, loss: Loss) -> ErrorStep | None:
    least = reader.least(0)
    return None if least is None else ErrorStep(loss.scaled(1.0 / least**2), reader.out)


def _log(reader: _Reader, loss: Loss) -> ErrorStep | None:
    least = reader.least(0)
    return None if least is None else ErrorStep(loss.scaled(1.0 / least), reader.out)


def _sqrt(reader: _Reader, loss: Loss) -> ErrorStep | None:
    least = reader.least(0)
    return None if least is None else ErrorStep(loss.scaled(0.5 / math.sqrt(least)))


def _pow(reader: _Reader, loss: Loss) -> ErrorStep | None:
    exponent, base = scalar(reader.node.inputs[1]), reader.largest(0)
    if reader.index != 0 or exponent is None or exponent < 1.0 or base is None:
        return None
    return ErrorStep(loss.scaled(exponent * base ** (exponent - 1.0)))


def _product(reader: _Reader, loss: Loss) -> ErrorStep | None:
    """The sum of products with the other operand, whose error is independent of its elements; a bias is an addend."""
    if reader.index > 1:
        return ErrorStep(loss, reader.out)
    addends = reader.addends()
    inputs = reader.node.inputs
    other = reader.stats(1 - reader.index)
    if addends is None or other is None or not math.isfinite(other.absmax):
        return None
    both = 2.0 if inputs[0] is inputs[1] else 1.0
    return ErrorStep(loss.scaled(both * (rms(other) or other.absmax), addends), reader.out)


def _sum(reader: _Reader, loss: Loss) -> ErrorStep | None:
    addends = reader.addends()
    return None if addends is None or reader.index else ErrorStep(loss.scaled(1.0, addends), reader.out)


def _mean(reader: _Reader, loss: Loss) -> ErrorStep | None:
    addends = reader.addends()
    return None if addends is None or reader.index else ErrorStep(loss.scaled(1.0 / addends, addends), reader.out)


def _exponential(reader: _Reader, loss: Loss) -> ErrorStep | None:
    """An absolute error of the argument is a relative one of the result, as it is of a probability."""
    made = reader.stats_of(reader.node.outputs[0])
    if made is None or not math.isfinite(made.absmax):
        return None
    return ErrorStep(loss.scaled(made.absmax), made.absmax)


def _log_softmax(reader: _Reader, loss: Loss) -> ErrorStep:
    return ErrorStep(loss.scaled(2.0), reader.out)


def _normalization(reader: _Reader, loss: Loss) -> ErrorStep | None:
    """The reciprocal deviation is at most that of epsilon; over rows of one magnitude the relative error stays."""
    if reader.index != 0:
        # The normalized input, which the scale multiplies, has a root mean square of about 1.
        return ErrorStep(loss, reader.out)
    gain = _gain(reader, reader.node.attributes.get_float("epsilon", 1e-5))
    if reader.node.op_type not in NORMALIZES_CHANNELS:
        size = rms(reader.stats(0))
        gain = min(gain, reader.out / size) if size else gain
    return ErrorStep(loss.scaled(gain), reader.out) if math.isfinite(gain) else None


def _batch_normalization(reader: _Reader, loss: Loss) -> ErrorStep | None:
    """y = (x - mean) * scale / sqrt(variance + epsilon) + bias."""
    if reader.index == 4:
        return None
    least = reader.stats(4)
    epsilon = reader.node.attributes.get_float("epsilon", 1e-5)
    variance = epsilon + (max(least.min, 0.0) if least is not None else 0.0)
    gain = _gain(reader, variance) if reader.index in (0, 3) else 1.0
    return ErrorStep(loss.scaled(gain), reader.out) if math.isfinite(gain) else None


def _gain(reader: _Reader, variance: float) -> float:
    scale = reader.largest(1) if len(reader.node.inputs) > 1 else 1.0
    return math.inf if scale is None or variance <= 0.0 else scale / math.sqrt(variance)


def _quantize(reader: _Reader, loss: Loss) -> ErrorStep | None:
    """The step of the quantized numbers is the magnitude beside the error."""
    stats = reader.stats(1)
    return ErrorStep(loss, stats.min) if reader.index == 0 and stats is not None else None


def _cast(reader: _Reader, loss: Loss) -> ErrorStep | None:
    return ErrorStep(loss) if element_type(reader.node.outputs[0]) in (ir.DataType.FLOAT, ir.DataType.DOUBLE) else None


def _nothing(reader: _Reader, loss: Loss) -> ErrorStep:
    return NOTHING


_STEPS: Mapping[str, Callable[[_Reader, Loss], ErrorStep | None]] = {
    **dict.fromkeys(("Add", "Sub", "Sum"), _add),
    "Mul": _mul,
    "Div": _div,
    "Reciprocal": _reciprocal,
    "Log": _log,
    "Sqrt": _sqrt,
    "Pow": _pow,
    **dict.fromkeys(("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"), _product),
    **dict.fromkeys(("ReduceSum", "CumSum"), _sum),
    **dict.fromkeys(("ReduceMean", "AveragePool", "GlobalAveragePool"), _mean),
    **dict.fromkeys(("Softmax", "Exp"), _exponential),
    "LogSoftmax": _log_softmax,
    **dict.fromkeys(
        ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization"), _normalization
    ),
    "BatchNormalization": _batch_normalization,
    "QuantizeLinear": _quantize,
    "Cast": _cast,
    **dict.fromkeys(("Shape", "Size"), _nothing),
}


def rms(stats: TensorStats | None) -> float:
    """Root mean square; 0 where it was not measured, or is of numbers beside infinities."""
    return stats.root_mean_square or 0.0 if stats is not None and math.isfinite(stats.absmax) else 0.0
