"""Small tensors whose losses vanish in the sums that they end in, at the magnitudes that calibration saw.

FP16 moves a number below its smallest normal one by up to 2**-25 (IEEE 754 binary16): much of the number, but nothing
beside the rounding of a sum whose other addends are of magnitude 1. So the absolute error of a tensor is followed
forward, through what moves and scales it (`error_steps`), to the sums that it ends in: residual Adds, the sums of
products in MatMul and Conv, a Softmax. It is absorbed where it is at most what storing the sum in FP16 costs anyway.

- Only what is absorbed on every path is absorbed. An output of the graph absorbs as a sum does, since it is judged as a
  whole; an output of a body, an operator that is not known, a comparison or a choice of elements by value absorbs
  nothing, nor does a value of unknown magnitude.
- An Add absorbs only beside what the other addend is, so that p + 1e-12 in front of a logarithm protects p.
- Knows whole tensors only, but follows a sum on into what scales channels or takes reciprocals or logarithms of it.
- Looks at FP16 alone: BF16 has FP32's exponents.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import onnx_ir as ir

from autocast_core.calibrate.statistics import StatsOf, TensorStats
from autocast_core.decide.rounding.error_steps import (
    NORMALIZES_CHANNELS,
    NOTHING,
    ErrorStep,
    Loss,
    rms,
    step_of,
)
from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import CONTROL_FLOW, HANDS_ON, MOVES_ELEMENTS, is_in

ROUNDING_LIMIT = 2.0**-9
"""Largest relative L2 that rounding a tensor may cost; full-precision FP16 rounding costs about 2**-12.8."""

UNDERFLOW_LIMIT = 0.01
"""Largest share of non-zero elements that may become zero."""

_SUBNORMAL_ERROR = 2.0**-25
"""Half the distance of subnormal numbers of FP16."""

_MOST_STEPS = 256
"""Readers that are looked at for one tensor; more absorb nothing. Paths end within ten of them as a rule."""

_STEPS_BEHIND = 32
"""Readers behind a sum among which a logarithm is looked for."""


def loses_much(stats: TensorStats) -> bool:
    """Whether rounding a tensor costs more than ROUNDING_LIMIT, or more than UNDERFLOW_LIMIT of it vanishes."""
    return (stats.rounding_error or 0.0) > ROUNDING_LIMIT or (stats.underflow_share or 0.0) > UNDERFLOW_LIMIT


def loss_of(stats: TensorStats) -> Loss:
    """The error of what FP16 holds only as subnormal numbers or not at all, spread over the examined elements."""
    if not stats.subnormal or not stats.examined:
        return Loss(0.0, 0.0)
    squares = stats.subnormal * _SUBNORMAL_ERROR**2
    if stats.rounding_sum_squares is not None:
        squares = min(squares, stats.rounding_sum_squares)
    vanished = stats.underflow or 0
    one_sign = stats.min >= 0.0 or stats.max <= 0.0
    # What vanishes is taken to lie evenly between 0 and where it would not; the mean is no larger than the mean square.
    shift = min(vanished * _SUBNORMAL_ERROR / 2, math.sqrt(vanished * squares)) if one_sign else 0.0
    return Loss(math.sqrt(squares / stats.examined), shift / stats.examined)


def is_absorbed(value: ir.Value, stats_of: StatsOf, results: Collection[ir.Value]) -> bool:
    """Whether the rounding of `value` to FP16 vanishes in the sums that it ends in, on every path.

    `results` are the outputs of the model, which are judged as a whole.
    """
    stats = stats_of(value)
    if stats is None:
        return False
    pending = [(value, loss_of(stats))]
    steps = 0
    while pending:
        value, loss = pending.pop()
        if value.is_graph_output():
            beside = rms(stats_of(value)) if value in results else 0.0
            if not ErrorStep(loss, beside).absorbs:
                return False
        for reader, index in value.uses():
            steps += 1
            step = step_of(reader, index, loss, stats_of)
            if step is None or steps > _MOST_STEPS:
                return False
            if step is NOTHING:
                continue
            if not step.absorbs:
                pending.extend((output, step.loss) for output in reader.outputs)
            elif any(_is_singled_out(output, step.loss, stats_of) for output in reader.outputs):
                return False
    return True


def _is_singled_out(value: ir.Value, loss: Loss, stats_of: StatsOf) -> bool:
    """Whether something behind the sum `value`, which absorbs `loss`, judges small parts of it by their own magnitude.

    That is a logarithm behind whatever is linear, as of the bands of a spectrum, and right behind the sum a reciprocal
    or a normalization of channels too.
    """
    pending = [(value, loss, True)]
    steps = 0
    while pending and steps <= _STEPS_BEHIND:
        value, loss, is_near = pending.pop()
        for reader, index in value.uses():
            steps += 1
            singles = reader.domain == "" and (
                reader.op_type == "Log"
                or (is_near and (reader.op_type in NORMALIZES_CHANNELS or reader.op_type == "Reciprocal"))
                or (is_near and reader.op_type == "Div" and index == 1)
            )
            near = is_near and _hands_on(reader)
            if not singles and not near and not is_in(reader, _LINEAR):
                continue
            step = step_of(reader, index, loss, stats_of)
            if singles and (step is None or not step.absorbs):
                return True
            if not singles and step is not None:
                pending.extend((output, step.loss, near) for output in reader.outputs)
    return False


_LINEAR = (
    frozenset({"Add", "Sub", "Mul", "MatMul", "Gemm", "Conv", "Einsum", "ReduceSum", "ReduceMean", "Sqrt"})
    | MOVES_ELEMENTS
    | frozenset({"Max", "Clip", "Relu", "Abs", "Concat"})
)


def _hands_on(node: ir.Node) -> bool:
    """Whether the small parts of a sum are there in the node's output too: it moves, bounds or shifts elements."""
    if is_in(node, HANDS_ON):
        return node.op_type not in CONTROL_FLOW
    return node.op_type in ("Add", "Sub") and any(constant_tensor(value) is not None for value in node.inputs)
