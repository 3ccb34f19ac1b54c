"""Keep what stands between dynamically quantized products: 16 bits would cost Casts there and save nothing.

- Acts on models with DynamicQuantizeLinear, or ONNX Runtime's operators that hold it, as quantize_dynamic makes them.
  Their products compute in integers; DynamicQuantizeLinear takes FP32 only, and MatMulInteger's result becomes FP32.
- Nodes that gain from 16 bits are products that are left in floats (attention's, for one) and readers of large FP32
  weights. What lies on a path from one of these to another stays with them; every other node is kept.
- Does not act on models with QuantizeLinear and DequantizeLinear alone, whose scales may have 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from autocast_core.config import ConversionConfig
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch
from autocast_core.graph.constants import constant_tensor, stored_bytes
from autocast_core.graph.walk import all_graphs, all_nodes
from autocast_core.operators.families import MATRIX_PRODUCTS

_QUANTIZERS = frozenset(
    {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"}
)
_PRODUCTS = MATRIX_PRODUCTS | {"FusedConv", "FusedGemm", "FusedMatMul", "GroupQueryAttention", "MultiHeadAttention"}
_LARGE_WEIGHT = 1 << 16
"""Bytes of FP32 weights from which on a node is worth a Cast at either side."""


class DynamicQuantizationRule:
    """Applies to the nodes of `model` that gain nothing; see the module."""

    name = "dynamic_quantization"

    def __init__(self, model: ir.Model) -> None:
        self._gaining = frozenset(
            id(node) for graph in all_graphs(model.graph) for node in _between(list(graph), _gains)
        )

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        if id(facts.node) in self._gaining:
            return None
        return RuleMatch("between dynamically quantized products 16 bits cost Casts and save nothing")


def _gains(node: ir.Node) -> bool:
    """Whether the node itself is faster or smaller in 16 bits."""
    if node.op_type in _QUANTIZERS:
        return False
    if node.op_type in _PRODUCTS:
        return any(_is_float(value) for value in node.inputs)
    tensors = (constant_tensor(value) for value in node.inputs if value is not None and _is_float(value))
    return any(tensor is not None and stored_bytes(tensor) >= _LARGE_WEIGHT for tensor in tensors)


def _between(nodes: list[ir.Node], gains: Callable[[ir.Node], bool]) -> Iterable[ir.Node]:
    """The nodes of one graph that gain, and those on a path of float tensors from one of them to another."""
    gaining = [node for node in nodes if gains(node)]
    behind: set[ir.Node] = set(gaining)
    for node in nodes:
        if node.op_type not in _QUANTIZERS and any(_maker(value) in behind for value in node.inputs):
            behind.add(node)
    before: set[ir.Node] = set(gaining)
    for node in reversed(nodes):
        if node.op_type not in _QUANTIZERS and any(
            use.node in before for value in node.outputs if _is_float(value) for use in value.uses()
        ):
            before.add(node)
    return [node for node in nodes if node in behind and node in before]


def _maker(value: ir.Value | None) -> ir.Node | None:
    return value.producer() if value is not None and _is_float(value) else None


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype == ir.DataType.FLOAT


def _build(model: ir.Model, config: ConversionConfig) -> DynamicQuantizationRule | None:
    found = any(node.op_type in _QUANTIZERS for node in all_nodes(model.graph))
    return DynamicQuantizationRule(model) if found else None


DYNAMIC_QUANTIZATION = RuleEntry(
    name=DynamicQuantizationRule.name,
    title="dynamic quantization",
    description="The model quantizes activations as it runs, and the node is on no path between float products or "
    "large weights.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=_build,
)
