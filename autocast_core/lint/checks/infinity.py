"""What becomes of a constant of infinity: it masks, it bounds or chooses, or something computes with it."""

from __future__ import annotations

import enum

import onnx_ir as ir

from autocast_core.lint.subject import CASTS
from autocast_core.operators.families import FILLS, MOVES_ELEMENTS, is_in

_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})
_CHOOSES = frozenset(
    {"Max", "Min", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin", "TopK", "MaxPool", "GlobalMaxPool", "Hardmax", "Exp"}
    | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "IsInf", "ReduceLogSumExp"}
)
"""Operators for which infinity is a number like any other: what they return is finite where something else is."""
_SCALES = frozenset({"Mul", "Div", "Tanh"})
_HANDS_ON = MOVES_ELEMENTS | FILLS | CASTS | frozenset({"Add", "Sub", "Where", "Concat", "Neg"})
_MOST_NODES = 24


class What(enum.Enum):
    """What infinity meets: a Softmax, what chooses or bounds, or arithmetic."""

    MASKS = "masks"
    CHOOSES = "chooses"
    COMPUTES = "computes"


def what_takes_infinity(value: ir.Value, *, may_be_factor: bool = False) -> What:
    """What infinity in `value` meets within a few nodes; a Softmax where there are several ends.

    A factor is no mask, since infinity times 0 is NaN, unless it `may_be_factor`, being finite as it is stored; scores
    that are masked already may be scaled.
    """
    pending, seen, found = [value], set[ir.Node](), What.COMPUTES
    while pending and len(seen) < _MOST_NODES:
        each = pending.pop(0)
        scales = may_be_factor or each is not value
        for node, index in each.uses():
            if is_in(node, _SOFTMAX) or (is_in(node, frozenset({"Attention"})) and index == 3):
                return What.CHOOSES if _is_guarded(node) else What.MASKS
            if is_in(node, _CHOOSES) or (is_in(node, frozenset({"Clip"})) and index > 0):
                found = What.CHOOSES
            elif node not in seen and (is_in(node, _HANDS_ON) or (scales and is_in(node, _SCALES))):
                seen.add(node)
                pending.extend(node.outputs)
    return found


def _is_guarded(softmax: ir.Node) -> bool:
    """Whether what is NaN behind the Softmax is replaced."""
    values = [softmax.outputs[0]]
    values += [use.node.outputs[0] for use in values[0].uses() if is_in(use.node, CASTS)]
    return any(is_in(use.node, frozenset({"IsNaN"})) for value in values for use in value.uses())
