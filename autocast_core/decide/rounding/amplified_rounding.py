"""Nodes that amplify the rounding of what they read, at the ranges that calibration saw.

One principle: a relative error e of the input becomes one of e·c in the output, c being the condition number
|x·f'(x) / f(x)| (`condition_numbers`). Where c exceeds AMPLIFICATION_LIMIT, what the node reads must not be rounded:
the node, and what computes its operands up to DEPTH computing nodes back, whose roundings are amplified alike.

- Numbers that the low type holds exactly bring no error, and nothing is followed through them.
- Knows whole tensors only: not a few elements that cancel among many that do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.decide.rounding.condition_numbers import CONDITIONS, DEPTH, Knowledge
from autocast_core.graph.constants import scalar
from autocast_core.operators import element_type, ports_of
from autocast_core.operators.families import CARRIES, CONTROL_FLOW, MOVES_ELEMENTS, is_in

AMPLIFICATION_LIMIT = 2.0**3.8
"""Rounding to FP16 costs a relative L2 of about 2**-12.8; times this it is 2**-9, the limit of `small_values`."""

SUMS = frozenset({"Add", "Sub"})


class Amplification(NamedTuple):
    """Why a node must not round: `node` (a name), an `operator`, multiplies the rounding of `tensor` by `factor`."""

    node: str
    operator: str
    tensor: str
    factor: float


def find_amplified_rounding(nodes: Iterable[ir.Node], known: Knowledge) -> dict[ir.Node, Amplification]:
    """The nodes that amplify the rounding of an operand over the limit, and those that compute it, each with why."""
    found: dict[ir.Node, Amplification] = {}
    depths: dict[ir.Node, int] = {}
    for node in nodes:
        condition_of = CONDITIONS.get(node.op_type) if node.domain == "" else None
        if condition_of is None:
            found.update(_running_sums(node, known))
            continue
        condition = condition_of(node, known)
        if condition is None or condition.number <= AMPLIFICATION_LIMIT * known.limit_scale:
            continue
        noisy = [value for value in condition.operands if not known.is_exact(value)]
        if not noisy:
            continue
        why = Amplification(node.name or "", node.op_type, noisy[0].name or "", condition.number)
        found[node], depths[node] = why, DEPTH + 1
        _keep_sources([(value, condition.depth) for value in noisy], why, known, found, depths)
    return found


def _running_sums(node: ir.Node, known: Knowledge) -> dict[ir.Node, Amplification]:
    """A body's sums of its own state and steps that are small beside it, with the nodes that hand the state on.

    What an iteration adds is lost where storing the state rounds it away: c = |state| / |step|.
    """
    found: dict[ir.Node, Amplification] = {}
    for port in ports_of(node):
        state = port.inner_input
        if state is None or port.outer_output is None or not port.body_outputs:
            continue
        behind, carriers = _through_carriers(port.body_outputs[0].value)
        total = behind.producer()
        if total is None or not is_in(total, SUMS):
            continue
        for operand, step in zip(total.inputs, reversed(total.inputs), strict=True):
            if operand is None or step is None or _through_carriers(operand)[0] is not state:
                continue
            factor = known.ratio(operand, step)
            if factor > AMPLIFICATION_LIMIT * known.limit_scale:
                why = Amplification(total.name or "", total.op_type, operand.name or "", factor)
                found |= dict.fromkeys((node, total, *carriers), why)
    return found


def _through_carriers(value: ir.Value) -> tuple[ir.Value, list[ir.Node]]:
    """Backward to where the numbers come from, through what moves elements of its first input."""
    nodes = []
    while (node := value.producer()) is not None and is_in(node, MOVES_ELEMENTS) and node.inputs[0] is not None:
        nodes.append(node)
        value = node.inputs[0]
    return value, nodes


def _keep_sources(
    operands: Iterable[tuple[ir.Value, int]],
    why: Amplification,
    known: Knowledge,
    found: dict[ir.Node, Amplification],
    depths: dict[ir.Node, int],
) -> None:
    """Backward from `operands`, up to so many computing nodes; what only moves or scales elements does not count.

    One more is kept where it reads nothing that is computed: its rounding would be all that is left.
    """
    pending = list(operands)
    while pending:
        value, depth = pending.pop()
        node = value.producer()
        if node is None or node.op_type in CONTROL_FLOW or element_type(value) != ir.DataType.FLOAT:
            continue
        left = depth if is_in(node, CARRIES) or is_scaling(node) else depth - 1
        computed = [each for each in node.inputs if each is not None and _is_followed(each, known)]
        if depths.get(node, -2) >= left or (left < 0 and computed):
            continue
        depths[node] = left
        found.setdefault(node, why)
        pending.extend((each, left) for each in computed)


def is_scaling(node: ir.Node) -> bool:
    """Whether the node multiplies by one constant number, or divides by it or it."""
    return node.domain == "" and node.op_type in ("Mul", "Div") and any(scalar(value) for value in node.inputs)


def _is_followed(value: ir.Value, known: Knowledge) -> bool:
    return value not in known.exact.positions and value.producer() is not None and not known.is_exact(value)
