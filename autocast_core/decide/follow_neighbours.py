"""Nodes that only cost where their precision differs from their neighbours'.

- A low node that moves elements from FP32 to FP32 (a Slice in front of a TopK) goes FP32, so that nothing is rounded on
  the way; so does one that reads a weight which FP32 nodes read too, since a Cast behind it is smaller than a second
  copy of the weight.
- A node that moves elements between low nodes goes low: it gets rounded elements, whatever its own type is.
- A lone low node that computes between FP32 neighbours goes FP32: it gains less than its two Casts cost.
- Changes nothing that the user, the schemas or rules of the caller decide, and no node that has weights or sums
  products.
- Looks through movements to what computes on both sides; into and out of bodies it does not look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.graph.constants import SMALL_TENSOR_BYTES, constant_tensor
from autocast_core.operators.families import (
    CONTROL_FLOW,
    FILLS,
    MATRIX_PRODUCTS,
    MOVES_ELEMENTS,
    READS_NO_ELEMENTS,
    is_in,
)
from autocast_core.plan import NodeDecision

_MOVEMENTS = MOVES_ELEMENTS | FILLS | {"Concat"}
_NEVER_LONE = MATRIX_PRODUCTS | CONTROL_FLOW

Ends = frozenset[Precision | None]
"""The precisions of what makes or reads a value, None for what is not known (bodies)."""

_NEUTRAL: Ends = frozenset()
_UNKNOWN: Ends = frozenset({None})
_FP32: Ends = frozenset({Precision.FP32})


def follow_neighbours(
    facts: Sequence[NodeFacts],
    decisions: Mapping[str, NodeDecision],
    is_open: Callable[[NodeDecision], bool],
    config: ConversionConfig,
    graph: ir.Graph,
    rule: str,
) -> Mapping[str, NodeDecision]:
    """`decisions` (by id, those about `facts`) with the nodes changed that only cost where they differ.

    `is_open` says whether a decision may be changed; `graph` is the main graph, whose inputs and outputs keep their
    types as `config` says. `rule` is recorded as the rule of the nodes that change.
    """
    found = {each.precision for each in decisions.values()}
    if Precision.FP32 not in found or not any(precision.is_low for precision in found):
        return decisions
    decided = dict(decisions)

    def change(node_id: str, precision: Precision, reason: str) -> None:
        decided[node_id] = replace(decided[node_id], precision=precision, rule=rule, reason=reason, evidence=())

    surroundings = _Surroundings(facts, decided, is_open, config, graph)
    surroundings.look()
    for each in facts:
        if surroundings.is_lone(each):
            change(each.id, Precision.FP32, "its neighbours all stay FP32")
    surroundings.look()
    for each in facts:
        if surroundings.moves(each):
            wanted = surroundings.wanted(each)
            if wanted is not None and wanted != decided[each.id].precision:
                kind = "FP32" if wanted == Precision.FP32 else "low"
                change(each.id, wanted, f"moves elements between {kind} nodes")
    return decided


@dataclass
class _Surroundings:
    """What makes and what reads the values at each node, seen through movements whose decision is open."""

    facts: Sequence[NodeFacts]
    decided: Mapping[str, NodeDecision]
    is_open: Callable[[NodeDecision], bool]
    config: ConversionConfig
    graph: ir.Graph
    made_by: dict[ir.Node, Ends] = field(default_factory=dict)
    read_by: dict[ir.Node, Ends] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_node = {each.node: each for each in self.facts}
        self.inputs = frozenset(self.graph.inputs)
        self.outputs = frozenset(self.graph.outputs)

    def look(self) -> None:
        """Work out both sides of each movement anew: readers from the last node on, makers from the first."""
        moving = [each for each in self.facts if self.moves(each)]
        self.read_by = {each.node: _NEUTRAL for each in moving}
        self.made_by = {each.node: _NEUTRAL for each in moving}
        for each in reversed(moving):
            self.read_by[each.node] = _union(self.readers(value) for value in each.operands.moved_outputs(each.node))
        for each in moving:
            self.made_by[each.node] = _union(self.makers(value) for value in each.operands.moved_inputs(each.node))

    def moves(self, facts: NodeFacts) -> bool:
        """Whether the node only moves elements, and may do so in either type."""
        decision = self.decided[facts.id]
        return (
            decision.precision is not Precision.NONE
            and is_in(facts.node, _MOVEMENTS)
            and any(facts.operands.outputs)
            and self.is_open(decision)
        )

    def wanted(self, facts: NodeFacts) -> Precision | None:
        """The precision of both sides of a movement; None where they have none in common."""
        made, read = self.made_by[facts.node], self.read_by[facts.node]
        if None in made or None in read:
            return None
        if made == _FP32 and (Precision.FP32 in read or self._shares_weight(facts)):
            return Precision.FP32
        # Of a second 16-bit type it is not known here whether the schemas allow it.
        low = self.config.precision
        return low if made == {low} and low in read else None

    def is_lone(self, facts: NodeFacts) -> bool:
        """Whether a low node that computes, without weights, has only FP32 neighbours."""
        decision = self.decided[facts.id]
        if not decision.precision.is_low or not self.is_open(decision) or self.moves(facts):
            return False
        if facts.node.domain != "" or is_in(facts.node, _NEVER_LONE):
            return False
        inputs, outputs = facts.operands.moved_inputs(facts.node), facts.operands.moved_outputs(facts.node)
        if any(_is_large(value) for value in inputs):
            return False
        return _union(map(self.makers, inputs)) == _FP32 and _union(map(self.readers, outputs)) == _FP32

    def makers(self, value: ir.Value) -> Ends:
        """The precisions of what computes `value`; a graph input has that of its readers, small constants have none."""
        node = value.producer()
        if node is None and value in self.inputs:
            kept = self.config.keeps_io_type(value.name or "") or self.readers(value) <= _FP32
            return _FP32 if kept else frozenset({self.config.precision})
        if constant_tensor(value) is not None:
            return _FP32 if self._is_fp32_weight(value) else _NEUTRAL
        if node is None:
            return _UNKNOWN
        if node in self.made_by:
            return self.made_by[node]
        facts = self.by_node.get(node)
        if facts is None:
            return _NEUTRAL
        moved = facts.operands.outputs[value.index() or 0]
        return frozenset({self.decided[facts.id].precision}) if moved else _FP32

    def readers(self, value: ir.Value) -> Ends:
        """The precisions in which nodes and outputs take `value`."""
        found = set[Precision | None]()
        if value.is_graph_output():
            kept = self.config.keeps_io_type(value.name or "")
            found.add(None if value not in self.outputs else Precision.FP32 if kept else self.config.precision)
        for node, index in value.uses():
            facts = self.by_node.get(node)
            if facts is None or is_in(node, READS_NO_ELEMENTS):
                continue
            if node in self.read_by and facts.operands.inputs[index]:
                found |= self.read_by[node]
            else:
                precision = self.decided[facts.id].precision
                found.add(precision if precision.is_low and facts.operands.inputs[index] else Precision.FP32)
        return frozenset(found)

    def _shares_weight(self, facts: NodeFacts) -> bool:
        return any(
            _is_large(value) and self._is_fp32_weight(value) for value in facts.operands.moved_inputs(facts.node)
        )

    def _is_fp32_weight(self, value: ir.Value) -> bool:
        """Whether an FP32 node reads the constant as it is, so that it is stored in FP32 anyway."""
        if not _is_large(value):
            return False
        readers = (self.by_node.get(node) for node, _ in value.uses())
        return any(each is not None and self.decided[each.id].precision is Precision.FP32 for each in readers)


def _union(ends: Iterable[Ends]) -> Ends:
    return frozenset().union(*ends)


def _is_large(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.nbytes > SMALL_TENSOR_BYTES
