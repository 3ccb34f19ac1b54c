"""Families of operators by what they do with the elements of their inputs, composed from facts.json.

All are operator types of the default domain: ask with `is_in`, which looks at the domain too. What belongs where, what
does not and why, stands in facts.json; a pass that needs another distinction composes it here or adds a family there.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from autocast_core.operators.facts import operator_facts

_FAMILIES = operator_facts().families

REARRANGES = _FAMILIES["rearranges"]
"""Output 0 holds every element of input 0 exactly once: it has the same statistics."""

MOVES_ELEMENTS = REARRANGES | _FAMILIES["selects"] | _FAMILIES["repeats"]
"""Outputs hold elements of input 0 and nothing else, chosen by position: what is true of each element stays true."""

FILLS = _FAMILIES["fills"]
"""Output 0 holds elements of input 0 by position, and elsewhere zero or a given constant."""

KEEPS_QUANTIZATION = MOVES_ELEMENTS | _FAMILIES["picks"]
"""Output 0 holds elements of input 0: quantized elements keep their scale, and compare as the real numbers do."""

CONTROL_FLOW = _FAMILIES["control_flow"]
"""Operators that hold bodies."""

CONSTANTS = _FAMILIES["constants"]
"""Output 0 holds elements of an attribute."""

HANDS_ON = (
    MOVES_ELEMENTS
    | FILLS
    | _FAMILIES["picks"]
    | _FAMILIES["joins"]
    | _FAMILIES["changes_sign"]
    | CONSTANTS
    | CONTROL_FLOW
)
"""Outputs hold numbers of the inputs, their negatives, constants or zero: rounded inputs give rounded outputs."""

SCATTERS = _FAMILIES["scatters"]
"""Output 0 holds elements of inputs 0 and 2, by position."""

CARRIES = HANDS_ON - CONTROL_FLOW - CONSTANTS | SCATTERS
"""Output 0 holds numbers of float inputs (`numbers_of`), their negatives, or given constants."""

ROUNDS = _FAMILIES["rounds"]
"""Output 0 holds whole numbers, whatever the input holds."""

KEEPS_WHOLE = CARRIES | _FAMILIES["whole_arithmetic"]
"""Whole numbers give whole numbers."""

ARITHMETIC = _FAMILIES["whole_arithmetic"] | _FAMILIES["real_arithmetic"] | ROUNDS
"""Output 0 is computed from the numbers of float inputs (`numbers_of`), by plain arithmetic."""

BOUNDED = _FAMILIES["bounded"]
"""Output 0 lies within fixed bounds."""

SUMS_PRODUCTS = _FAMILIES["sums_products"] | {"Einsum", "Gemm", "MatMul"}
"""Output 0 holds sums of products of elements of inputs."""

MATRIX_PRODUCTS = SUMS_PRODUCTS | {"Attention"}
"""Operators that engines run on matrix units: 16 bits speed them up whatever the Casts around them cost."""

READS_NO_ELEMENTS = _FAMILIES["reads_no_elements"]
"""Outputs depend on shape or presence alone, so the element type of the input does not matter."""

OUTPUT_TYPE_ATTRIBUTES = operator_facts().output_type_attributes
"""Integer attributes that hold the element type of an output."""

TYPE_ATTRIBUTES = OUTPUT_TYPE_ATTRIBUTES | operator_facts().computation_type_attributes
"""Integer attributes that hold an element type, of an output or of what is computed inside."""


_OF_FIRST_INPUT = MOVES_ELEMENTS | _FAMILIES["picks"] | {"Cast", "CastLike", "CumSum", "Trilu", "CenterCropPad"}
_OF_SOME_INPUTS: Mapping[str, tuple[int, ...]] = {"Where": (1, 2), "Pad": (0, 2)} | dict.fromkeys(SCATTERS, (0, 2))


def numbers_of(node: ir.Node) -> list[ir.Value]:
    """The inputs whose numbers output 0 holds or is computed from, without those that give positions or conditions."""
    given = list(node.inputs)
    if node.op_type in _OF_FIRST_INPUT or node.op_type.startswith("Reduce"):
        given = given[:1]
    elif node.op_type in _OF_SOME_INPUTS:
        given = [given[index] for index in _OF_SOME_INPUTS[node.op_type] if index < len(given)]
    return [value for value in given if value is not None]


def is_in(node: ir.Node, family: frozenset[str]) -> bool:
    """Whether `node` is an operator of ONNX's default domain that belongs to `family`."""
    return node.op_type in family and node.domain == ""
