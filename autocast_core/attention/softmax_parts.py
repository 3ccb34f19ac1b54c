"""A Softmax that is written in parts, as JAX does: exp(scores - max) / sum(exp(scores - max)).

The division (or the product with a reciprocal) stands for the Softmax. The sum must run along the last axis and keep
it; a small number may be added to it. Sums behind the product with V are not recognised.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from autocast_core.attention.paths import LONGEST_PATH, PathStep, is_cast, is_constant, is_layout
from autocast_core.graph.constants import small_array
from autocast_core.operators.families import is_in

_ROW_STATISTICS = frozenset({"ReduceMax", "ReduceSum"})
_BEHIND_STATISTICS = frozenset({"Add", "Max", "Clip", "Reciprocal"})
"""What may stand between a row's sum and the division by it."""


def steps_from_exponential(node: ir.Node) -> tuple[PathStep, ...] | None:
    """The steps from the Exp up to `node` inclusive, where `node` divides exponentials by the sum of their row; None
    for any other node."""
    if len(node.inputs) != 2 or not is_in(node, frozenset({"Div", "Mul"})):
        return None
    for operand in (0,) if node.op_type == "Div" else (0, 1):
        steps = (*_up_to_exponential(node.inputs[operand]), PathStep(node, operand))
        divisor = node.inputs[1 - operand]
        if steps[0].node.op_type == "Exp" and _is_sum_of(divisor, steps[0].node, node.op_type == "Mul"):
            return steps
    return None


def _up_to_exponential(value: ir.Value | None) -> tuple[PathStep, ...]:
    """The steps from the nearest Exp to `value`, through casts and layout; none where another node makes it."""
    steps: list[PathStep] = []
    node = None if value is None else value.producer()
    while node is not None and node.inputs and node.inputs[0] is not None and len(steps) < LONGEST_PATH:
        steps.insert(0, PathStep(node, 0))
        if is_in(node, frozenset({"Exp"})):
            return tuple(steps)
        node = node.inputs[0].producer() if is_cast(node) or is_layout(node) else None
    return ()


def _is_sum_of(divisor: ir.Value | None, exponential: ir.Node, inverted: bool) -> bool:
    """Whether `divisor` is the row sum of what `exponential` gives, or, `inverted`, its reciprocal."""
    reciprocals = 0
    node = None if divisor is None else divisor.producer()
    while node is not None and not _is_row_statistic(node, "ReduceSum"):
        if not is_cast(node) and not _keeps_statistic(node):
            return False
        reciprocals += node.op_type == "Reciprocal"
        read = next((value for value in node.inputs if not is_constant(value)), None)
        node = None if read is None else read.producer()
    return (
        node is not None
        and reciprocals == inverted
        and _up_to_exponential(node.inputs[0])[:1] == (PathStep(exponential, 0),)
    )


def _keeps_statistic(node: ir.Node) -> bool:
    return is_in(node, _BEHIND_STATISTICS) and sum(not is_constant(value) for value in node.inputs) == 1


def _is_row_statistic(node: ir.Node, operator: str | None = None) -> bool:
    """Whether the node reduces the last axis alone, and keeps it; `operator` says by what."""
    if not is_in(node, _ROW_STATISTICS) or operator not in (None, node.op_type) or not node.inputs:
        return False
    value, given = node.inputs[0], node.attributes.get("axes")
    array = small_array(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = list(given.as_ints()) if given is not None and not given.is_ref() else None
    axes = [int(axis) for axis in array.reshape(-1)] if array is not None else axes
    rank = None if value is None or value.shape is None else len(value.shape)
    keeps = node.attributes.get_int("keepdims", 1) == 1
    return keeps and axes is not None and (axes == [-1] or (rank is not None and axes == [rank - 1]))


def row_statistics(values: Iterable[ir.Value], members: frozenset[ir.Node]) -> frozenset[ir.Node]:
    """The nodes that make of `values` the maximum or the sum of each row, for `members` alone."""
    found: set[ir.Node] = set()
    for value in values:
        for node, _ in value.uses():
            chain = _chain(node)
            results = [each.outputs[0] for each in chain]
            if chain and not any(map(ir.Value.is_graph_output, results)):
                found.update(chain if all(use.node in members for use in results[-1].uses()) else ())
    return frozenset(found)


def _chain(first: ir.Node) -> list[ir.Node]:
    """`first` and what follows it, each read by the next alone, where that is a row's maximum or sum; else nothing."""
    chain: list[ir.Node] = []
    node: ir.Node | None = first
    while node is not None and (is_cast(node) or _is_row_statistic(node) or (chain and _keeps_statistic(node))):
        chain.append(node)
        readers = {use.node for use in node.outputs[0].uses()}
        node = readers.pop() if len(readers) == 1 else None
    return chain if any(map(_is_row_statistic, chain)) else []
