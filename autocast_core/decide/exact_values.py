"""Which float values are counts, positions and sizes, and so must stay exact, as far as the graph tells.

16 bits hold whole numbers up to 2048 (FP16) or 256 (BF16) exactly; sizes and indices that are computed in floats, and
the angles that positions are turned into, are wrong beyond that whatever the accuracy of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.graph.constants import constant_tensor
from autocast_core.number_formats import PRECISION_DTYPES
from autocast_core.operators import element_type
from autocast_core.operators.families import MOVES_ELEMENTS

WHOLE = frozenset({"Add", "Sub", "Mul", "Neg", "Abs", "Min", "Max", "CumSum", "ReduceSum", "ReduceMax", "ReduceMin"})
"""Operators that make whole numbers of whole numbers (besides MOVES_ELEMENTS, Concat, Where and Range)."""

ARITHMETIC = WHOLE | frozenset(
    {"Div", "Pow", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Clip", "MatMul", "Einsum", "Mod", "ReduceProd"}
    | {"Reciprocal", "Sign", "Gemm", "ReduceMean"}
)
ROUNDING = frozenset({"Floor", "Ceil", "Round"})
_SOURCES = frozenset({"Cast", "CastLike", "Range"})
"""Operators that make floats of integers, or whole numbers of nothing else."""
_FOLLOWED = ARITHMETIC | MOVES_ELEMENTS | {"Cast", "CastLike", "Concat", "Where", "Range"}
_OF_FIRST_INPUT = MOVES_ELEMENTS | {"Cast", "CastLike", "CumSum"}
_JOINING = MOVES_ELEMENTS | {"Concat", "Cast"}
COMPARISONS = frozenset({"Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"})
PERIODIC = frozenset({"Sin", "Cos", "Tan"})

_SIZES_BY_MEANING: Mapping[str, tuple[int, ...]] = {"Resize": (1, 2), "Upsample": (1,), "OneHot": (0, 1)}
_CONSTANT_ELEMENTS = 4096

WHOLE_LIMIT: Mapping[Precision, float] = {Precision.FP16: 2.0**11, Precision.BF16: 2.0**8}
"""Up to here every whole number has a representation: 11 and 8 bits of significand (IEEE 754 binary16, bfloat16)."""


@dataclass(frozen=True)
class ExactValues:
    """Float values by what they mean.

    `whole`: whole numbers, computed from integers. `positions`: anything computed from integers and constants alone.
    `angles`: what a Sin, Cos or Tan is taken of. `sizes`: nodes whose results are computed from integers and end as
    integers, comparisons among themselves, or scales of a Resize.
    """

    whole: frozenset[ir.Value]
    positions: frozenset[ir.Value]
    angles: frozenset[ir.Value]
    sizes: frozenset[ir.Node]


def find_exact_values(nodes: Iterable[ir.Node]) -> ExactValues:
    """The numbers among the values of `nodes`, which are all nodes of a model, each before its readers."""
    nodes = list(nodes)
    whole: set[ir.Value] = set()
    positions: set[ir.Value] = set()
    if any(node.op_type in _SOURCES for node in nodes):
        for node in nodes:
            if node.domain == "":
                _follow(node, whole, positions)
    angles = _angles(nodes, positions)
    return ExactValues(frozenset(whole), frozenset(positions), frozenset(angles), _sizes(nodes, positions))


def _follow(node: ir.Node, whole: set[ir.Value], positions: set[ir.Value]) -> None:
    outputs = [value for value in node.outputs if _is_float(value)]
    if not outputs:
        return
    inputs = _numeric_inputs(node)
    if node.op_type == "Cast" and inputs and _is_integer(inputs[0]):
        whole.update(outputs)
        positions.update(outputs)
        return
    if node.op_type not in _FOLLOWED or not inputs:
        return
    constant = [value for value in inputs if _constant(value) is not None]
    if len(constant) == len(inputs) and node.op_type != "Range":
        return
    if all(value in positions or value in constant for value in inputs) or node.op_type == "Range":
        positions.update(outputs)
    rounds = node.op_type in ROUNDING and any(value in positions for value in inputs)
    keeps = node.op_type not in ARITHMETIC or node.op_type in WHOLE
    if rounds or (keeps and all(value in whole or _is_whole(value) for value in inputs)):
        whole.update(outputs)


def _numeric_inputs(node: ir.Node) -> list[ir.Value]:
    """The inputs whose elements are in the outputs, or are computed with."""
    given = list(node.inputs)
    if node.op_type in _OF_FIRST_INPUT or node.op_type.startswith("Reduce"):
        given = given[:1]
    elif node.op_type == "Where":
        given = given[1:]
    return [value for value in given if value is not None]


def _angles(nodes: list[ir.Node], positions: set[ir.Value]) -> set[ir.Value]:
    """Backward from periodic functions to the arithmetic behind, and on through what is computed from integers."""
    pending = [node.inputs[0] for node in nodes if node.domain == "" and node.op_type in PERIODIC]
    angles: set[ir.Value] = set()
    while pending:
        value = pending.pop()
        if value is None or value in angles or not _is_float(value) or _constant(value) is not None:
            continue
        angles.add(value)
        node = value.producer()
        if node is None or node.domain != "":
            continue
        if node.op_type in _JOINING:
            pending.extend(_numeric_inputs(node))
        elif node.op_type in ARITHMETIC:
            pending.extend(each for each in _numeric_inputs(node) if each in positions)
    return angles


def _sizes(nodes: list[ir.Node], positions: set[ir.Value]) -> frozenset[ir.Node]:
    """Backward over all nodes: those of whose float outputs nothing is left but integers and scales."""
    found: set[ir.Node] = set()
    for node in reversed(nodes) if positions else ():
        floats = [value for value in node.outputs if _is_float(value)]
        if floats and all(value in positions and _ends_as_size(value, positions, found) for value in floats):
            found.add(node)
    return frozenset(found)


def _ends_as_size(value: ir.Value, positions: set[ir.Value], found: set[ir.Node]) -> bool:
    if value.is_graph_output() or not value.uses():
        return False
    return all(_takes_size(node, index, positions) or node in found for node, index in value.uses())


def _takes_size(node: ir.Node, index: int, positions: set[ir.Value]) -> bool:
    """Whether input `index` ends as an integer or a scale there, or is compared with other sizes."""
    if node.domain != "":
        return False
    if node.op_type in ("Cast", "CastLike"):
        return _is_integer(node.outputs[0])
    if node.op_type in COMPARISONS:
        other = node.inputs[1 - index]
        return other is not None and (other in positions or _constant(other) is not None)
    return index in _SIZES_BY_MEANING.get(node.op_type, ())


def _is_float(value: ir.Value | None) -> bool:
    return element_type(value) in PRECISION_DTYPES


def _is_integer(value: ir.Value | None) -> bool:
    dtype = element_type(value)
    return dtype is not None and dtype.is_integer() and dtype != ir.DataType.BOOL


def _constant(value: ir.Value) -> ir.TensorProtocol | None:
    tensor = constant_tensor(value)
    return tensor if tensor is not None and tensor.size <= _CONSTANT_ELEMENTS else None


def _is_whole(value: ir.Value) -> bool:
    tensor = _constant(value)
    if tensor is None or not _is_float(value):
        return False
    array = tensor.numpy().astype(np.float32)
    return bool(np.array_equal(array, np.floor(array)))
