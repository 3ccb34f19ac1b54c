"""The way from a Softmax back to the product of its scores and on to the product of its probabilities."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from autocast_core.attention.products import is_product
from autocast_core.graph.constants import constant_tensor, scalar
from autocast_core.operators.families import MOVES_ELEMENTS, READS_NO_ELEMENTS, REARRANGES, is_in

CASTS = frozenset({"Cast", "CastLike"})
LAYOUT = REARRANGES | {"Dropout"}
"""Operators that hand on what they read, in inference."""
_SCORES_AT = {"Add": (0, 1), "Clip": (0,), "Div": (0,), "Max": (0, 1), "Min": (0, 1), "Mul": (0, 1), "Sub": (0,)} | {
    "Neg": (0,),
    "Sum": (0, 1, 2, 3),
    "Tanh": (0,),
    "Where": (1, 2),
}
"""What may stand between the product and its Softmax, and which operands may hold the scores."""
_PROBABILITIES_AT = {"Add": (0, 1), "Div": (0,), "Mul": (0, 1), "Where": (1, 2)}
"""What may change probabilities, and which operands may hold them."""
LONGEST_PATH = 16
"""Most nodes between a Softmax and a product, and between its parts."""


@dataclass(frozen=True)
class PathStep:
    """A node on the way and which of its operands the way goes through."""

    node: ir.Node
    operand: int

    @property
    def value(self) -> ir.Value:
        """The value that the step reads."""
        value = self.node.inputs[self.operand]
        assert value is not None
        return value


def is_cast(node: ir.Node) -> bool:
    """Whether the node changes the element type and nothing else."""
    return is_in(node, CASTS) and bool(node.inputs) and bool(node.outputs)


def is_layout(node: ir.Node) -> bool:
    """Whether the node hands on its elements as they are."""
    return is_in(node, LAYOUT) and bool(node.inputs) and bool(node.outputs)


def is_constant(value: ir.Value | None) -> bool:
    """Whether the value is a constant, perhaps cast or laid out anew."""
    while value is not None and constant_tensor(value) is None:
        node = value.producer()
        if node is None or not (is_cast(node) or is_in(node, MOVES_ELEMENTS)) or not node.inputs:
            return False
        value = node.inputs[0]
    return value is not None


def is_one_number(value: ir.Value | None) -> bool:
    """Whether the value is a single number, constant or computed."""
    if value is None:
        return False
    return scalar(value) is not None or (value.shape is not None and all(size == 1 for size in value.shape))


def steps_from_product(start: ir.Value) -> tuple[ir.Node, tuple[PathStep, ...]] | None:
    """The product whose scores `start` holds, which a Softmax reads, and the steps from it to there.

    Where several products lead there, as where a mask is one, that whose result has the shape of the scores is taken,
    and of those the nearest. None where there is none of two operands that are not both constant.
    """
    found = list(_products_ahead(start))
    if not found:
        return None
    return min(found, key=lambda each: (not _may_equal(each[0].outputs[0], start), len(each[1])))


def _products_ahead(start: ir.Value) -> Iterator[tuple[ir.Node, tuple[PathStep, ...]]]:
    pending: deque[tuple[ir.Value, tuple[PathStep, ...]]] = deque([(start, ())])
    seen = {start}
    while pending:
        value, steps = pending.popleft()
        node = value.producer()
        if node is None or len(steps) > LONGEST_PATH:
            continue
        if is_product(node):
            if not (is_constant(node.inputs[0]) and is_constant(node.inputs[1])):
                yield node, steps
            continue
        operands = (0,) if is_cast(node) or is_layout(node) else _SCORES_AT.get(node.op_type, ())
        for operand in operands if node.domain == "" else ():
            ahead = node.inputs[operand] if operand < len(node.inputs) else None
            if ahead is not None and ahead not in seen and constant_tensor(ahead) is None:
                seen.add(ahead)
                pending.append((ahead, (PathStep(node, operand), *steps)))


def _may_equal(first: ir.Value, second: ir.Value) -> bool:
    """Whether two shapes have as many elements, as far as they are known."""
    if first.shape is None or second.shape is None:
        return True
    sizes = [sorted(str(size) for size in value.shape if size != 1) for value in (first, second) if value.shape]
    return len(sizes) < 2 or sizes[0] == sizes[1] or len(first.shape) != len(second.shape)


def steps_to_product(softmax: ir.Node) -> tuple[tuple[PathStep, ...], PathStep] | None:
    """The steps from the Softmax to the nearest product of its probabilities and another operand, and that product."""
    pending: deque[tuple[ir.Value, tuple[PathStep, ...]]] = deque([(softmax.outputs[0], ())])
    seen = {softmax.outputs[0]}
    while pending:
        value, steps = pending.popleft()
        for node, operand in value.uses():
            if is_product(node) and operand < 2 and node.inputs[1 - operand] not in seen:
                return steps, PathStep(node, operand)
            passes = (is_cast(node) or is_layout(node)) and operand == 0
            at = _PROBABILITIES_AT.get(node.op_type, ()) if node.domain == "" and node.outputs else ()
            if (passes or operand in at) and len(steps) < LONGEST_PATH and node.outputs[0] not in seen:
                seen.add(node.outputs[0])
                pending.append((node.outputs[0], (*steps, PathStep(node, operand))))
    return None


def other_readers(value: ir.Value, followed: frozenset[ir.Node]) -> bool:
    """Whether anything but the `followed` nodes reads elements of `value`, or it is a graph output."""
    if value.is_graph_output():
        return True
    readers = (use.node for use in value.uses())
    return any(reader not in followed and not is_in(reader, READS_NO_ELEMENTS | {"IsNaN"}) for reader in readers)


def back_through(value: ir.Value | None, families: frozenset[str]) -> tuple[tuple[ir.Node, ...], tuple[ir.Value, ...]]:
    """The nodes of `families` from `value` back, the nearest first, and all values on the way, `value` first."""
    nodes: list[ir.Node] = []
    values: list[ir.Value] = []
    while value is not None:
        values.append(value)
        node = value.producer()
        if node is None or not is_in(node, families) or not node.inputs:
            break
        nodes.append(node)
        value = node.inputs[0]
    return tuple(nodes), tuple(values)
