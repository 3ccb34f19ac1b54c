"""Readers that need more than the eight bits of BF16, whatever the range.

The rules say nothing of them: FP16 either holds the numbers well or has no range for them.

- Looks forward from a node, through what moves elements and up to three computing nodes, for a Cast to integers (an
  index, a length) and for a Softmax of scores in the tens, whose differences are what counts.
- Does not look at scores that a mask pushes away, nor into bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from autocast_core.operators import element_type
from autocast_core.operators.families import HANDS_ON, is_in

DEPTH = 3
"""Computing nodes that are looked through, as many as `amplified_rounding` keeps."""

SCORE_LIMIT = 32.0
"""BF16 rounds a score of 2**5 by up to 2**-4, and moves its probability by as large a share."""

_LOOKED_THROUGH = frozenset(
    {"Add", "Sub", "Mul", "Div", "Floor", "Ceil", "Round", "Clip", "CumSum", "Relu", "Abs", "Neg"}
)
_SOFTMAX = frozenset({"Softmax", "LogSoftmax"})


def coarse_reader(node: ir.Node, magnitude: Callable[[ir.Value], float]) -> ir.Node | None:
    """The reader of what `node` makes, or `node` itself, for which BF16 is too coarse; None where there is none.

    `magnitude` is the largest magnitude of a tensor, without what a mask adds.
    """
    if _is_coarse(node, magnitude):
        return node
    return next((reader for reader in _readers(node) if _is_coarse(reader, magnitude)), None)


def _is_coarse(node: ir.Node, magnitude: Callable[[ir.Value], float]) -> bool:
    value = node.inputs[0] if node.inputs else None
    if value is None or node.domain != "":
        return False
    if node.op_type == "Cast":
        target = element_type(node.outputs[0])
        return target is not None and target.is_integer() and target != ir.DataType.BOOL
    return node.op_type in _SOFTMAX and magnitude(value) > SCORE_LIMIT


def _readers(node: ir.Node) -> Iterator[ir.Node]:
    """What reads the outputs of `node`, nearest first: each reader, and those behind it where it is looked through."""
    pending, seen = [(node, DEPTH)], {node}
    while pending:
        each, depth = pending.pop(0)
        for reader in dict.fromkeys(reader for value in each.outputs for reader, _ in value.uses()):
            if reader in seen:
                continue
            seen.add(reader)
            yield reader
            left = depth if is_in(reader, HANDS_ON) or reader.op_type == "Cast" else depth - 1
            if left >= 0 and (is_in(reader, HANDS_ON | _LOOKED_THROUGH) or reader.op_type == "Cast"):
                pending.append((reader, left))
