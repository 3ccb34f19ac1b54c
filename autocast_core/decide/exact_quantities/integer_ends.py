"""Float arithmetic whose results become integers: lengths, indices, trip counts, numbers of elements.

One rounding there is another length or another element, however small the error: durations in frames, boxes in pixels.

- Ends where floats are cast to 32 or 64 bit integers, where an operator takes sizes or counts as floats
  (operators/facts.json), and where rounded numbers are compared (a frame's place with its end).
- Follows backward through what carries numbers, and through arithmetic on whole numbers; behind the operator that
  rounds, at most DEPTH computing nodes, since what they round moves numbers across the step.
- Does not take casts to 8 or 16 bits for an end: images and quantized numbers are a network's output, not its shape.
  Nor comparisons of other numbers, of which few come close to their threshold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.decide.exact_quantities.body_passages import BodyPassages
from autocast_core.decide.exact_quantities.exact_values import CASTS, COMPARISONS, ExactValues, is_float
from autocast_core.decide.rounding.amplified_rounding import is_scaling
from autocast_core.decide.rounding.condition_numbers import DEPTH
from autocast_core.graph.constants import constant_tensor
from autocast_core.number_formats import INDEX_DTYPES
from autocast_core.operators.facts import operator_facts
from autocast_core.operators.families import CARRIES, is_in, numbers_of


class IntegerEnd(NamedTuple):
    """Where a float becomes an integer: at `node` (a name), an `operator`, which reads `tensor`."""

    node: str
    operator: str
    tensor: str


def find_integer_ends(nodes: Sequence[ir.Node], exact: ExactValues) -> dict[ir.Node, IntegerEnd]:
    """The nodes among `nodes` (all nodes of a model) that compute what becomes an integer, each with where it does."""
    passages: BodyPassages | None = None
    depths: dict[ir.Value, int] = {}
    found: dict[ir.Node, IntegerEnd] = {}
    for node in nodes:
        for value in _taken_as_integers(node, exact):
            passages = passages or BodyPassages(nodes)
            end = IntegerEnd(node.name or "", node.op_type, value.name or "")
            _keep_sources(value, end, exact, passages, found, depths)
    return found


def _taken_as_integers(node: ir.Node, exact: ExactValues) -> Iterator[ir.Value]:
    if node.domain != "":
        return
    kind, inputs = node.op_type, node.inputs
    if kind in CASTS:
        taken = inputs[:1] if node.outputs[0].dtype in INDEX_DTYPES else ()
    elif kind in COMPARISONS:
        taken = inputs if any(value in exact.rounded for value in inputs) else ()
    else:
        places = operator_facts().size_inputs.get(kind, ())
        taken = [value for index, value in enumerate(inputs) if index in places]
    yield from (value for value in taken if value is not None and is_float(value))


def _keep_sources(
    value: ir.Value,
    end: IntegerEnd,
    exact: ExactValues,
    passages: BodyPassages,
    found: dict[ir.Node, IntegerEnd],
    depths: dict[ir.Value, int],
) -> None:
    """Backward from `value`; what carries numbers or computes whole ones takes nothing of the depth."""
    pending = [(value, DEPTH)]
    while pending:
        value, depth = pending.pop()
        if depths.get(value, -1) >= depth or not is_float(value) or constant_tensor(value) is not None:
            continue
        depths[value] = depth
        through = passages.before(value)
        node = value.producer()
        if through is None and node is not None and node.domain == "":
            is_exact = value in exact.rounded or value in exact.positions
            left = depth if is_exact or is_in(node, CARRIES) or is_scaling(node) else depth - 1
            if left < 0:
                continue
            found.setdefault(node, end)
            depth, through = left, numbers_of(node)
        pending.extend((each, depth) for each in through or ())
