"""Angles that grow with the sequence: what a Sin, Cos or Tan is taken of, where it is computed from integers or summed
up along an axis.

- Follows the angle backward through every operator that carries numbers (operators/facts.json), through sums, products,
  Mod and Ceil, Floor, Round, and bodies of control flow; through any arithmetic on what integers alone determine.
- Keeps on the way back what a running sum adds up: its relative error is that of the sum.
- Does not look at other angles: how large calibration saw them decides, by rule ``conditioning``.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from autocast_core.decide.exact_quantities.body_passages import BodyPassages
from autocast_core.decide.exact_quantities.exact_values import CASTS, ExactValues, is_float
from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import ARITHMETIC, CARRIES, KEEPS_WHOLE, ROUNDS, is_in, numbers_of

PERIODIC = frozenset({"Sin", "Cos", "Tan"})

_RUNNING_SUM = "CumSum"
_THROUGH = CARRIES | KEEPS_WHOLE | ROUNDS | CASTS | {"Div"}
"""Operators whose result is an angle, or a number of turns, where their operands are."""


def find_growing_angles(nodes: Sequence[ir.Node], exact: ExactValues) -> frozenset[ir.Value]:
    """The float values among those of `nodes` (all nodes of a model) that are angles, or become angles, that grow."""
    ends = [node.inputs[0] for node in nodes if is_in(node, PERIODIC)]
    if not ends:
        return frozenset()
    sources = _sources_of_angles(ends, BodyPassages(nodes), exact)
    readers: dict[ir.Value, list[ir.Value]] = {}
    for value, before in sources.items():
        for each in before:
            readers.setdefault(each, []).append(value)
    sums = [value for value in sources if _is_running_sum(value)]
    growing = _reached([*sums, *(value for value in sources if value in exact.positions)], readers)
    return frozenset(growing | _reached(sums, sources))


def _sources_of_angles(
    ends: Sequence[ir.Value | None], passages: BodyPassages, exact: ExactValues
) -> dict[ir.Value, list[ir.Value]]:
    """Backward from `ends`: each angle with the angles that it is computed from."""
    found: dict[ir.Value, list[ir.Value]] = {}
    pending = list(ends)
    while pending:
        value = pending.pop()
        if value is None or value in found or not _is_angle(value):
            continue
        node = value.producer()
        before = passages.before(value)
        if before is None and node is not None and node.domain == "":
            if node.op_type in _THROUGH:
                before = numbers_of(node)
            elif node.op_type in ARITHMETIC:
                before = [each for each in numbers_of(node) if each in exact.positions]
        found[value] = [each for each in before or () if _is_angle(each)]
        pending.extend(found[value])
    return found


def _is_angle(value: ir.Value) -> bool:
    return is_float(value) and constant_tensor(value) is None


def _is_running_sum(value: ir.Value) -> bool:
    node = value.producer()
    return node is not None and node.domain == "" and node.op_type == _RUNNING_SUM


def _reached(begin: Sequence[ir.Value], steps: dict[ir.Value, list[ir.Value]]) -> set[ir.Value]:
    """`begin` and what `steps` lead to from there."""
    found: set[ir.Value] = set()
    pending = list(begin)
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            pending.extend(steps.get(value, ()))
    return found
