"""Constants that keep a denominator, a logarithm or a root away from zero, and the nodes that must compute with them in
FP32, because in the low type they would be zero or their reciprocal infinite.

- Looks at Add, Max and Clip with a tiny positive constant, perhaps behind movement operators, and follows the least
  value that they give through movement operators, roots, powers, reciprocals and constant factors, to what it protects.
- Ends where the low type holds the least value: FP16 holds the root of 1e-6, and nothing behind it is kept.
- Takes a subnormal number for a representation, as IEEE 754 does.
- Does not look at the epsilon attribute of a normalisation, which ONNX's operators add in FP32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import onnx_ir as ir

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import Precision
from autocast_core.graph.constants import scalar
from autocast_core.operators.families import MOVES_ELEMENTS, is_in

TIE_TO_ZERO: Mapping[Precision, float] = {Precision.FP16: 2.0**-25, Precision.BF16: 2.0**-134}
"""Half of the smallest subnormal number: up to here numbers round to zero (IEEE 754 binary16, bfloat16)."""

_LEAST, _GREATEST = 1e-300, 1e300
"""What least values are kept within, so that no power or reciprocal of them leaves what a double holds."""
_GUARDING: Mapping[str, tuple[int, ...] | None] = {"Add": None, "Max": None, "Clip": (1,)}
"""Operators that raise a value to a constant, and the inputs that the constant may be (None: any)."""


class Guard(NamedTuple):
    """What a node computes with: the `constant` (its name and value), and an `operator` that it protects."""

    constant: str
    value: float
    operator: str


def find_guarded_nodes(
    nodes: Iterable[ir.Node], weights: Mapping[str, TensorStats], precision: Precision
) -> dict[ir.Node, Guard]:
    """The nodes among `nodes` from a guard up to what it protects that must stay FP32, each with its guard.

    `weights` are the statistics of float initializers and Constants by name.
    """
    tiny = {name for name, each in weights.items() if each.min > 0.0 and each.max < 1.0 / precision.max}
    found: dict[ir.Node, Guard] = {}
    if not tiny:
        return found
    for node in nodes:
        if node.op_type not in _GUARDING or node.domain != "":
            continue
        places = _GUARDING[node.op_type]
        for index, value in enumerate(node.inputs):
            constant, layout = _laid_out(value)
            if constant in tiny and (places is None or index in places):
                floor = weights[constant].max
                kept = _follow(node, floor, precision)
                if kept is None:
                    continue
                for each in (*layout, *kept.nodes):
                    found.setdefault(each, Guard(constant, floor, kept.operator))
    return found


def _laid_out(value: ir.Value | None) -> tuple[str, tuple[ir.Node, ...]]:
    """The name of what `value` holds the elements of, and the nodes that lay it out."""
    layout: list[ir.Node] = []
    node = None if value is None else value.producer()
    while value is not None and node is not None and is_in(node, MOVES_ELEMENTS) and node.inputs:
        layout.append(node)
        value = node.inputs[0]
        node = None if value is None else value.producer()
    return ("" if value is None else str(value.name)), tuple(layout)


class _Protected(NamedTuple):
    operator: str
    nodes: tuple[ir.Node, ...]


def _follow(node: ir.Node, floor: float, precision: Precision) -> _Protected | None:
    """What the guard `node` protects and the nodes on the way that the low type would spoil; None where nothing."""

    def is_held(least: float) -> bool:
        return TIE_TO_ZERO[precision] < least <= precision.max

    operators: list[str] = []
    kept: dict[ir.Node, None] = {}
    pending: list[tuple[ir.Value, float, tuple[ir.Node, ...], bool]] = [
        (node.outputs[0], floor, () if is_held(floor) else (node,), False)
    ]
    seen: set[ir.Value] = set()
    while pending:
        value, least, path, protects = pending.pop()
        if value in seen:
            continue
        seen.add(value)
        for reader, index in value.uses():
            effect = _effect(reader, index, min(max(least, _LEAST), _GREATEST))
            if effect is None:
                # What takes a value of no representation needs it as it is, but only behind what the guard protects.
                if protects and not is_held(least):
                    kept.update(dict.fromkeys((*path, reader)))
                continue
            spoilt = not is_held(least) or not is_held(effect.least)
            on = (*path, reader) if spoilt else path
            if effect.protects:
                operators.append(reader.op_type)
                kept.update(dict.fromkeys(on))
            if not effect.ends:
                pending.append((reader.outputs[0], effect.least, on, protects or effect.protects))
    return _Protected(operators[0], tuple(kept)) if operators and kept else None


class _Effect(NamedTuple):
    """What a reader makes of a least value: `protects` where it needs it, `ends` where its result says no more."""

    least: float
    protects: bool = False
    ends: bool = False


def _effect(node: ir.Node, index: int, least: float) -> _Effect | None:
    if node.domain != "":
        return None
    if is_in(node, MOVES_ELEMENTS) and index == 0:
        return _Effect(least)
    match node.op_type:
        case "Sqrt":
            return _Effect(math.sqrt(least), protects=True)
        case "Reciprocal":
            return _Effect(1.0 / least, protects=True)
        case "Log":
            return _Effect(1.0, protects=True, ends=True)
        case "Div" if index == 1:
            numerator = scalar(node.inputs[0])
            return (
                _Effect(abs(numerator) / least, protects=True) if numerator else _Effect(1.0, protects=True, ends=True)
            )
        case "Pow" if index == 0:
            return _power(scalar(node.inputs[1]), least)
        case "Mul":
            factor = scalar(node.inputs[1 - index])
            return _Effect(least * factor) if factor is not None and factor > 0.0 else None
    return None


def _power(exponent: float | None, least: float) -> _Effect | None:
    """Pow of a constant: a root or a reciprocal protects, a power above 1 carries on."""
    if not exponent:
        return None
    logarithm = exponent * math.log(least)
    result = math.exp(min(logarithm, 700.0))
    return _Effect(result, protects=exponent < 1.0)
