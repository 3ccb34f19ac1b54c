"""Which operands of a node follow its precision, and whether it may be low at all: the operator's schema decides.

A schema binds each input and output to a type variable or to a type. If a node goes low, exactly the FP32 operands
bound to a variable that admits the low type move; an input typed ``tensor(float)`` (Resize scales) does not. What
schemas do not say (attributes that fix a type) stands in facts.json.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from autocast_core.config import Precision
from autocast_core.number_formats import LOW_DTYPES, PRECISION_DTYPES, precision_of
from autocast_core.operators.facts import OutputType, operator_facts
from autocast_core.operators.policy import OperandPolicy
from autocast_core.operators.signature import Signature, find_signature, supporting_opset
from autocast_core.operators.types import element_type, type_string
from autocast_core.plan import PluginPrecision

_PLAIN = frozenset({ir.TensorType, type(None)})


@dataclass(frozen=True)
class Operands:
    """How a node stands to a low precision.

    `inputs` and `outputs` say per operand whether it moves with the node. `refusal` says why the node cannot be low.
    `needs_opset` is the first opset at which it can be. `current` is the low precision the node has already, `demanded`
    one that a plugin insists on. `is_float` is false for a node that touches no float tensor.
    """

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]
    is_float: bool
    refusal: str | None = None
    current: Precision | None = None
    demanded: Precision | None = None
    needs_opset: int | None = None

    def moved_inputs(self, node: ir.Node) -> list[ir.Value]:
        """The inputs of `node`, whose operands these are, that move with it."""
        return [value for value, moves in zip(node.inputs, self.inputs, strict=True) if moves and value is not None]

    def moved_outputs(self, node: ir.Node) -> list[ir.Value]:
        """The outputs of `node`, whose operands these are, that move with it."""
        return [value for value, moves in zip(node.outputs, self.outputs, strict=True) if moves]

    @property
    def is_fixed(self) -> bool:
        """Whether the node has 16 bits already and nothing says that it may have others."""
        return self.current is not None and self.refusal is not None


def float_operands(node: ir.Node, policy: OperandPolicy, precision: Precision) -> Operands:
    """The operands of `node` that a change to `precision` moves, by the policy of its model."""
    inputs, outputs = node.inputs, node.outputs
    kinds = [None if value is None else value.type for value in (*inputs, *outputs)]
    types = tuple([None if kind is None else kind.dtype for kind in kinds])
    if PRECISION_DTYPES.isdisjoint(types):
        return Operands(*_still(node), is_float=False)
    domain, op_type = node.domain, node.op_type
    if op_type in policy.plugins:
        return _plugin_operands(node, policy.plugins[op_type], precision)
    refusal = _refusal_by_fact(node)
    if refusal is not None:
        current = _current(node, (True,) * len(types))
        return Operands(*_still(node), is_float=True, refusal=refusal, current=current)
    opset = policy.opsets.get(domain, 1)
    signature = find_signature(domain, op_type, opset)
    if signature is None:
        refusal = f"no schema describes {_name(node)}"
        return Operands(*_still(node), is_float=True, refusal=refusal, current=_current(node, None))
    if op_type in policy.blocks or not _PLAIN.issuperset(map(type, kinds)):
        return _schema_operands(node, _blocked(signature, policy.blocks.get(op_type, {})), opset, precision)
    return _tensor_operands(domain, op_type, types[: len(inputs)], types[len(inputs) :], opset, precision)


def wide_operands(node: ir.Node, policy: OperandPolicy) -> Operands:
    """The 16-bit operands of `node` that a change to FP32 moves: those whose type variable admits FP32."""
    if not any(element_type(value) in LOW_DTYPES for value in (*node.inputs, *node.outputs)):
        return Operands(*_still(node), is_float=True)
    signature = find_signature(node.domain, node.op_type, policy.opsets.get(node.domain, 1))
    if signature is None or _refusal_by_fact(node) is not None:
        return Operands(*_still(node), is_float=True)
    stated = decided_outputs(node)

    def moves(value: ir.Value | None, declared: str | None) -> bool:
        return element_type(value) in LOW_DTYPES and _may_be(declared, value, signature, Precision.FP32)

    inputs = tuple(moves(value, signature.input_type(i)) for i, value in enumerate(node.inputs))
    outputs = tuple(i not in stated and moves(v, signature.output_type(i)) for i, v in enumerate(node.outputs))
    return Operands(inputs, outputs, is_float=True)


def _still(node: ir.Node) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
    """No operand moves."""
    return (False,) * len(node.inputs), (False,) * len(node.outputs)


@functools.lru_cache(maxsize=4096)
def _tensor_operands(
    domain: str,
    op_type: str,
    inputs: tuple[ir.DataType | None, ...],
    outputs: tuple[ir.DataType | None, ...],
    opset: int,
    precision: Precision,
) -> Operands:
    """The operands of any node that has only tensors, of these element types (None: omitted or unknown)."""
    signature = find_signature(domain, op_type, opset)
    assert signature is not None

    def value(dtype: ir.DataType | None) -> ir.Value | None:
        return None if dtype is None else ir.Value(type=ir.TensorType(dtype))

    given = [value(dtype) for dtype in inputs]
    made = [ir.Value(type=None if dtype is None else ir.TensorType(dtype)) for dtype in outputs]
    return _schema_operands(ir.Node(domain, op_type, given, outputs=made), signature, opset, precision)


def _blocked(signature: Signature, block: Mapping[str, Sequence[int]]) -> Signature:
    """The signature with the type variables of blocked operands held at FP32."""
    held = {signature.input_type(i) for i in block.get("inp", ())} | {
        signature.output_type(i) for i in block.get("out", ())
    }
    if not held:
        return signature
    constraints = {name: allowed for name, allowed in signature.constraints.items() if name not in held}
    return replace(signature, constraints=constraints)


def _schema_operands(node: ir.Node, signature: Signature, opset: int, precision: Precision) -> Operands:
    stated = decided_outputs(node)
    pinned = operator_facts().pinned_inputs.get(node.op_type, ()) if node.domain == "" else ()
    low_inputs = tuple(
        i not in pinned and _may_be(signature.input_type(i), v, signature, precision) for i, v in enumerate(node.inputs)
    )
    low_outputs = tuple(
        i not in stated and _may_be(signature.output_type(i), v, signature, precision)
        for i, v in enumerate(node.outputs)
    )
    current = _current(node, (*low_inputs, *low_outputs))
    if current is not None:
        return Operands((False,) * len(low_inputs), (False,) * len(low_outputs), is_float=True, current=current)
    inputs = tuple(low and element_type(v) == ir.DataType.FLOAT for low, v in zip(low_inputs, node.inputs, strict=True))
    outputs = tuple(
        low and element_type(v) == ir.DataType.FLOAT for low, v in zip(low_outputs, node.outputs, strict=True)
    )
    if any(inputs) or any(outputs):
        return Operands(inputs, outputs, is_float=True)
    later = _later_opset(node, opset, precision)
    remedy = f"; opset {later} has one" if later is not None else ""
    refusal = f"{_name(node)} has no {precision} form at opset {opset}{remedy}"
    return Operands(inputs, outputs, is_float=True, refusal=refusal, needs_opset=later)


def _may_be(declared: str | None, value: ir.Value | None, signature: Signature, precision: Precision) -> bool:
    if (
        value is None
        or value.type is None
        or not isinstance(value.type, ir.TensorType | ir.SequenceType | ir.OptionalType)
    ):
        return False
    dtype = element_type(value)
    if dtype == ir.DataType.FLOAT or dtype in LOW_DTYPES:
        return declared in signature.constraints and signature.admits(
            declared, type_string(value.type, precision.dtype)
        )
    return False


def _current(node: ir.Node, may_be_low: tuple[bool, ...] | None) -> Precision | None:
    """The low precision that the operands which may be low have already."""
    values = [*node.inputs, *node.outputs]
    for index, value in enumerate(values):
        dtype = element_type(value)
        if dtype in LOW_DTYPES and (may_be_low is None or may_be_low[index]):
            return precision_of(dtype)
    if may_be_low is not None and not any(
        element_type(value) == ir.DataType.FLOAT and low for value, low in zip(values, may_be_low, strict=True)
    ):
        return next((precision_of(d) for d in map(element_type, values) if d in LOW_DTYPES), None)
    return None


def _plugin_operands(node: ir.Node, plugin: PluginPrecision, precision: Precision) -> Operands:
    inputs = tuple(
        element_type(v) == ir.DataType.FLOAT and plugin.wants_low(i, output=False) for i, v in enumerate(node.inputs)
    )
    outputs = tuple(
        element_type(v) == ir.DataType.FLOAT and plugin.wants_low(i, output=True) for i, v in enumerate(node.outputs)
    )
    demanded = precision if any(inputs) or any(outputs) else Precision.FP32
    return Operands(inputs, outputs, is_float=True, demanded=demanded)


def _refusal_by_fact(node: ir.Node) -> str | None:
    refusal, attribute = _operator_facts(node.domain, node.op_type)
    if attribute is not None and attribute in node.attributes:
        return f"{node.op_type}'s attribute {attribute} states its type"
    return refusal


@functools.lru_cache(maxsize=4096)
def _operator_facts(domain: str, op_type: str) -> tuple[str | None, str | None]:
    """Why an operator is never low, and the attribute with which it states an FP32 type; None where there is none."""
    facts = operator_facts()
    if domain in facts.never_low_domains:
        return f"{domain}::{op_type} has no 16-bit form: {facts.never_low_domains[domain]}", None
    if domain:
        return None, None
    if op_type in facts.never_low:
        return f"{op_type} has no 16-bit form: {facts.never_low[op_type]}", None
    return None, facts.fp32_attribute.get(op_type)


def _later_opset(node: ir.Node, opset: int, precision: Precision) -> int | None:
    """The first opset after `opset` at which some FP32 operand may have the precision."""
    operands = [(-1 - i, v) for i, v in enumerate(node.inputs)] + list(enumerate(node.outputs))
    known = (
        supporting_opset(node.domain, node.op_type, index, type_string(value.type, precision.dtype))
        for index, value in operands
        if value is not None and value.type is not None and element_type(value) == ir.DataType.FLOAT
    )
    return min((version for version in known if version is not None and version > opset), default=None)


def _name(node: ir.Node) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def decided_outputs(node: ir.Node) -> frozenset[int]:
    """The outputs whose type an attribute states for good (``stash_type``), which therefore never move."""
    fact = output_type_fact(node)
    return frozenset(fact.outputs) if fact is not None and not fact.settable else frozenset()


def output_type_fact(node: ir.Node) -> OutputType | None:
    """The attribute that fixes the element type of some of the node's outputs; None where its operator has none."""
    return operator_facts().output_types.get(node.op_type) if node.domain == "" else None
