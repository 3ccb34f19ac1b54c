"""Families of operators by what they do with the elements of their inputs, composed from facts.json.

All are operator types of the default domain: ask with `is_in`, which looks at the domain too. What belongs where, what
does not and why, stands in facts.json; a pass that needs another distinction composes it here or adds a family there.
"""

from __future__ import annotations

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

HANDS_ON = (
    MOVES_ELEMENTS
    | FILLS
    | _FAMILIES["picks"]
    | _FAMILIES["joins"]
    | _FAMILIES["changes_sign"]
    | _FAMILIES["constants"]
    | CONTROL_FLOW
)
"""Outputs hold numbers of the inputs, their negatives, constants or zero: rounded inputs give rounded outputs."""

READS_NO_ELEMENTS = _FAMILIES["reads_no_elements"]
"""Outputs depend on shape or presence alone, so the element type of the input does not matter."""

OUTPUT_TYPE_ATTRIBUTES = operator_facts().output_type_attributes
"""Integer attributes that hold the element type of an output."""

TYPE_ATTRIBUTES = OUTPUT_TYPE_ATTRIBUTES | operator_facts().computation_type_attributes
"""Integer attributes that hold an element type, of an output or of what is computed inside."""


def is_in(node: ir.Node, family: frozenset[str]) -> bool:
    """Whether `node` is an operator of ONNX's default domain that belongs to `family`."""
    return node.op_type in family and node.domain == ""
