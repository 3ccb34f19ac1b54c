"""Cast placement, a last pass over a plan: nodes that may be either type move to the side on which fewer bytes move.

A minimum cut over the bytes of Casts and of wider tensors decides, so the result is the cheapest there is.

- Low nodes may become FP32. FP32 nodes that only hand numbers on become low where only low nodes read them, which
  changes no number. So no node is rounded that was not.
- Does not touch products (16 bits are for them, whatever moves), attention cores, nodes with a tensor of unknown size,
  nodes of whose type an input or output of the graph is, groups of nodes that need one precision with one that may not
  move, nor what an option, a caller's own rule or a rule about exact quantities decided.
- Casts at nodes of the rule `free` are inside kernels and cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
from msgspec import structs

from autocast_core.apply.placement import PrecisionCosts, cheapest, traffic_costs
from autocast_core.attention import attention_cores
from autocast_core.config import Precision
from autocast_core.decide.rule import Override
from autocast_core.decide.rules import CUSTOM, FREE, PLACEMENT, entry_of
from autocast_core.graph.constants import constant_tensor
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.operators import element_type
from autocast_core.operators.families import CONTROL_FLOW, HANDS_ON, MATRIX_PRODUCTS, is_in
from autocast_core.plan import NodeDecision, PlacementRecord, PlanSettings, PrecisionPlan
from autocast_core.search.search_space import repair_space

_NEVER_WIDENED = MATRIX_PRODUCTS | CONTROL_FLOW


def place_casts(model: ir.Model, plan: PrecisionPlan, counts: Mapping[str, int]) -> PrecisionPlan:
    """`plan`, which is for the sanitized `model`, with its Casts placed, and what that saves in ``data.placement``.

    `counts` has the elements of tensors by name. Nodes that an earlier placement made FP32 stay so and count as moved.
    """
    choice = _Choice.of(model, plan, counts)
    movable = choice.widened | choice.narrowed | choice.placed
    costs = _outside_kernels(traffic_costs(model, plan, movable, counts), plan)
    as_it_is = choice.narrowed | choice.placed
    kept = cheapest(costs, sorted(movable), required=choice.placed, groups=choice.groups)
    if costs.of(kept) >= costs.of(as_it_is):
        kept = as_it_is
    wide = dict.fromkeys(kept & choice.widened, Precision.FP32)
    low = dict.fromkeys(choice.narrowed - kept, plan.precision)
    record = PlacementRecord(
        moved=tuple(sorted({*choice.placed, *wide, *low})),
        cast_bytes_before=round(costs.casts(choice.narrowed)),
        cast_bytes_after=round(costs.casts(kept)),
        traffic_before=round(costs.of(choice.narrowed)),
        traffic_after=round(costs.of(kept)),
    )
    placed = plan.with_precisions(wide, PLACEMENT.name, "FP32 on both sides: Casts around it would move more bytes")
    placed = placed.with_precisions(low, PLACEMENT.name, "only hands numbers on to low nodes")
    return structs.replace(placed, data=structs.replace(placed.data, placement=record))


@dataclass(frozen=True)
class _Choice:
    """Which nodes may move: low ones that may be FP32, and FP32 ones that may be low; `groups` move as a whole.
    `placed` are the FP32 nodes that moved before."""

    widened: frozenset[str]
    narrowed: frozenset[str]
    placed: frozenset[str]
    groups: frozenset[frozenset[str]]

    @staticmethod
    def of(model: ir.Model, plan: PrecisionPlan, counts: Mapping[str, int]) -> _Choice:
        space, decided = repair_space(model, plan), plan.by_id()
        nodes = dict(nodes_with_ids(model.graph))
        core = {member for each in attention_cores(model.graph) for member in each.members}
        fixed = {node_id for node_id, node in nodes.items() if not _may_move(node, plan.settings, counts)} | core
        blocked = fixed | {
            node_id
            for node_id in space.candidates
            if decided[node_id].precision is not plan.precision or is_in(nodes[node_id], _NEVER_WIDENED)
        }
        widened = frozenset(each for each in space.candidates if not space.together([each]) & blocked)
        fixed |= frozenset().union(*space.groups.values())
        ids = {node: node_id for node_id, node in nodes.items()}
        kept = [each for each in plan.nodes if each.precision is Precision.FP32 and each.id not in fixed]
        placed = frozenset(each.id for each in kept if each.rule == PLACEMENT.name)
        narrowed = frozenset(each.id for each in kept if _only_hands_on(nodes[each.id], each, ids, decided)) - placed
        groups = frozenset(group for node, group in space.groups.items() if node in widened)
        return _Choice(widened, narrowed, placed, groups)


def _may_move(node: ir.Node, settings: PlanSettings, counts: Mapping[str, int]) -> bool:
    """Whether the sizes of all FP32 tensors at the node are known, constants aside, and no input or output of the graph
    takes its type."""
    values = [each for each in (*node.inputs, *node.outputs) if each is not None]
    floats = [each for each in values if element_type(each) == ir.DataType.FLOAT and constant_tensor(each) is None]
    return all(str(each.name) in counts and not _follows(each, settings) for each in floats)


def _follows(value: ir.Value, settings: PlanSettings) -> bool:
    """Whether the value is an input or output of a graph that has the type of the nodes beside it."""
    border = value.is_graph_input() or value.is_graph_output()
    return border and not (settings.lower_all_io or settings.keeps_io_type(str(value.name)))


def _only_hands_on(
    node: ir.Node, own: NodeDecision, ids: Mapping[ir.Node, str], decided: Mapping[str, NodeDecision]
) -> bool:
    """Whether a node kept in FP32 hands numbers on, to low nodes alone."""
    entry = entry_of(own.rule)
    if not is_in(node, HANDS_ON) or entry in (CUSTOM, FREE) or not entry.may_be_overridden_by(Override.SEARCH):
        return False
    readers = [decided.get(ids.get(reader, "")) for out in node.outputs for reader, _ in out.uses()]
    outputs = any(value.is_graph_output() for value in node.outputs)
    return bool(readers) and not outputs and all(each is not None and each.precision.is_low for each in readers)


def _outside_kernels(costs: PrecisionCosts, plan: PrecisionPlan) -> PrecisionCosts:
    """`costs` without Casts at nodes of the rule `free`."""
    free = {each.id for each in plan.nodes if each.rule == FREE.name}
    crossings = tuple(
        replace(
            each,
            maker=None if each.maker in free else each.maker,
            readers=tuple(reader for reader in each.readers if reader not in free),
        )
        for each in costs.crossings
    )
    return replace(costs, crossings=tuple(each for each in crossings if each.readers)) if free else costs
