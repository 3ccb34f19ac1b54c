"""Nodes that need range and not precision take the second 16-bit type, BF16, which has FP32's exponents.

- Looks at nodes that a rule about FP16's range alone keeps in FP32 (`RuleEntry.about_range`), asks all rules again for
  BF16 (`decide`), and takes what these let through. Whatever else keeps a node (exact numbers, angles, conditioning,
  the user's word, readers that need more than BF16's eight bits: `coarse_readers`) keeps it in FP32.
- Brings groups of nodes that need one type to one.
- Leaves a node in FP32 where BF16 gains nothing: neither a tensor between two such nodes, nor a weight, nor a graph
  input or output is stored in it, and it multiplies no matrices.
- By measurement leaves to a release what `data_max` alone keeps and FP16 holds with headroom: that needs no range.
- Does not act with one 16-bit type.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.decide.coarse_readers import coarse_reader
from autocast_core.decide.groups import NodeGroup
from autocast_core.decide.node_facts import NodeFacts
from autocast_core.decide.rules import RANGE, entry_of
from autocast_core.decide.rules.numeric.io_range import IO_RANGE
from autocast_core.errors import UnconvertibleError
from autocast_core.graph.constants import constant_tensor
from autocast_core.operators.families import MATRIX_PRODUCTS, is_in
from autocast_core.plan import NodeDecision

LIMIT_SCALE = 2.0**-3
"""BF16 has three bits less than FP16: amplified by so much less, its rounding is as large."""


@dataclass(frozen=True)
class RangeChoice:
    """What is known of nodes in the second type: the facts and the decisions of the rules about it, by node id.

    `left_to_release` is the magnitude up to which nodes that ``data_max`` keeps are none of its business.
    """

    precision: Precision
    facts: Mapping[str, NodeFacts]
    decisions: Mapping[str, NodeDecision]
    left_to_release: float = 0.0

    def holds(self, node_id: str) -> bool:
        """Whether the rules let the node have the second type."""
        return self.decisions[node_id].precision is self.precision

    def needs_range(self, decision: NodeDecision) -> bool:
        """Whether a decision about range is about more than ``data_max``."""
        tensors = self.facts[decision.id].tensors  # none where the node has no form in the second type
        seen = [each.stats.absmax for each in tensors if each.stats is not None]
        seen += [each.absmax for each in decision.evidence if each.absmax is not None]
        return decision.rule != IO_RANGE.name or max(seen, default=0.0) > self.left_to_release

    def coarse_reader(self, node_id: str) -> ir.Node | None:
        """See coarse_readers."""
        return coarse_reader(self.facts[node_id].node, lambda value: self._magnitudes.get(value.name or "", 0.0))

    @cached_property
    def _magnitudes(self) -> Mapping[str, float]:
        tensors = {tensor.name: tensor for each in self.facts.values() for tensor in each.tensors}
        return {
            name: each.unmasked_extreme if each.is_mask else each.stats.absmax
            for name, each in tensors.items()
            if each.stats is not None
        }


def is_about_range(decision: NodeDecision) -> bool:
    """Whether nothing but FP16's range keeps the node in FP32."""
    return decision.precision is Precision.FP32 and entry_of(decision.rule).about_range


def with_range(
    decisions: Mapping[str, NodeDecision], choice: RangeChoice, opset: int | None
) -> dict[str, NodeDecision]:
    """`decisions` with the nodes in the second type whose range alone kept them in FP32, where the rules let them.

    UnconvertibleError where `opset`, which the user demands, has no form of such a node, and a later one has.
    """
    found = dict(decisions)
    for node_id, decision in decisions.items():
        if not is_about_range(decision) or not choice.needs_range(decision):
            continue
        operands = choice.facts[node_id].operands
        coarse = choice.coarse_reader(node_id)
        if choice.holds(node_id) and coarse is not None:
            reason = f"{decision.reason}; {coarse.op_type} {coarse.name!r} needs more precision than {choice.precision}"
            found[node_id] = replace(decision, reason=f"{reason} has")
        elif choice.holds(node_id):
            reason = f"{decision.reason}; {choice.precision} has the range"
            found[node_id] = replace(decision, precision=choice.precision, rule=RANGE.name, reason=reason)
        elif operands.refusal is not None:
            if opset is not None and operands.needs_opset is not None:
                raise UnconvertibleError(
                    f"node {node_id} needs the range of {choice.precision}, and {operands.refusal}: give --opset"
                    f" {operands.needs_opset} or more, or fp16 alone as precision"
                )
            found[node_id] = replace(decision, reason=f"{decision.reason}; {operands.refusal}")
    return found


def joined(
    decisions: Mapping[str, NodeDecision], groups: Iterable[NodeGroup], rule: str, choice: RangeChoice
) -> dict[str, NodeDecision]:
    """`decisions` with groups that have both 16-bit types in the second, or in FP32 where a node cannot have that."""
    decided = dict(decisions)
    for group in groups:
        low = [node for node in sorted(group.nodes) if decided[node].precision.is_low]
        if len({decided[node].precision for node in low}) < 2:
            continue
        keeper = next(node for node in low if decided[node].precision is choice.precision)
        together = all(map(choice.holds, low))
        wanted = choice.precision if together else Precision.FP32
        reason = f"{group.relation} node {keeper!r}, which needs the range of {choice.precision}"
        for node in low:
            if decided[node].precision is not wanted:
                decided[node] = replace(decided[node], precision=wanted, rule=rule, reason=reason)
    return decided


def without_gain(
    decisions: Mapping[str, NodeDecision],
    before: Mapping[str, NodeDecision],
    nodes: Mapping[str, ir.Node],
    choice: RangeChoice,
) -> dict[str, NodeDecision]:
    """`decisions` with the nodes in FP32 again, as in `before`, for which the second type gains nothing."""
    decided = dict(decisions)
    ids = {node: node_id for node_id, node in nodes.items()}
    chosen = {node_id for node_id, each in decisions.items() if each.rule == RANGE.name}
    wide = {node_id for node_id, each in decisions.items() if each.precision is choice.precision}
    for node_id in chosen:
        if not _gains(node_id, choice, ids, wide):
            reason = f"{before[node_id].reason}; {choice.precision} would gain nothing between its neighbours"
            decided[node_id] = replace(before[node_id], reason=reason)
    return decided


def _gains(node_id: str, choice: RangeChoice, ids: Mapping[ir.Node, str], wide: Collection[str]) -> bool:
    node, operands = choice.facts[node_id].node, choice.facts[node_id].operands
    if is_in(node, MATRIX_PRODUCTS):
        return True
    moved, made = operands.moved_inputs(node), operands.moved_outputs(node)
    if any(_is_weight(value) or value.is_graph_input() for value in moved):
        return True
    if any(value.is_graph_output() for value in made):
        return True
    return any(ids.get(other) in wide for other in _neighbours(moved, made))


def _neighbours(moved: Iterable[ir.Value], made: Iterable[ir.Value]) -> Iterator[ir.Node]:
    for value in moved:
        producer = value.producer()
        if producer is not None:
            yield producer
    for value in made:
        yield from (reader for reader, _ in value.uses())


def _is_weight(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.size > 1
