"""Applies a plan: retypes values with their nodes, and inserts a Cast where a reader requests another type.

No data is looked at. `apply_in_place` lists the steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.apply.casts import Casts
from autocast_core.apply.corrected_biases import correct_biases
from autocast_core.apply.interface import GraphInterface
from autocast_core.apply.literals import store_literals
from autocast_core.apply.retype import retype_outputs
from autocast_core.apply.source_casts import (
    elide_widening_casts,
    merge_source_casts,
    remove_redundant_casts,
    remove_unread_casts,
    retarget_casts,
)
from autocast_core.apply.uses import GraphOutput, Uses, cast_target, collect_uses, types_before
from autocast_core.config import Precision
from autocast_core.errors import PlanError, UnconvertibleError
from autocast_core.graph.annotations import set_kept_nodes
from autocast_core.graph.names import unused_names
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.operators import (
    OperandPolicy,
    Operands,
    float_operands,
    wide_operands,
)
from autocast_core.plan import PrecisionPlan


@dataclass(frozen=True)
class Applied:
    """The converted model, the plan with `io_kept` filled in, and how many Casts the model gained."""

    model: ir.Model
    plan: PrecisionPlan
    casts_inserted: int


def apply_plan(model: ir.Model, plan: PrecisionPlan) -> Applied:
    """Convert `model`, which is not modified, as `plan` says.

    Raises PlanError when the plan speaks of other nodes or biases than the model has, UnconvertibleError where values
    that no Cast takes (sequences, optionals) would need one.
    """
    return apply_in_place(model.clone(), plan)


def apply_in_place(model: ir.Model, plan: PrecisionPlan) -> Applied:
    """`apply_plan` on `model` itself, for a caller that has no other use for it; undefined where this raises.

    Requires a sanitized model: unique names, every value typed, no model-local functions. The steps, and what holds
    after each:

    1. The plan decides exactly the nodes that count; biases are corrected as it says; `moves` has the operands that
       change their type, by schema alone: those that go low, and those with 16 bits in the source of nodes that the
       plan has in FP32.
    2. Source Casts that do nothing have no readers. `uses` has every reader of a float value, but for the main graph's
       outputs, with the type that it requests.
    3. Every value has the type that its producer makes, in bodies too.
    4. Inputs and outputs of the main graph have their types; `uses` has the outputs too. Source Casts that widened for
       a low reader are read past, or make the low type themselves.
    5. Literals are stored in the types that readers request; further types are copies.
    6. Every reader that requires a type reads a value of that type: the value, a copy, or a Cast of it. One Cast for
       each value and type, in the value's own scope.
    7. No Cast of the source is without readers that it had; outputs have their names. The model is valid.
    """
    by_id, decided = _match(model, plan)  # 1
    nodes, names, interface = list(by_id.values()), unused_names(model.graph), GraphInterface(model.graph, plan)
    correct_biases(model, plan, by_id, decided, names)
    original = types_before(model.graph, nodes)
    moves = _moves(model, plan, by_id, decided)
    source_casts = merge_source_casts([node for node in nodes if cast_target(node) is not None], original)  # 2
    nodes = [node for node in nodes if node.graph is not None]
    uses = collect_uses(nodes, original, moves)
    retype_outputs(moves)  # 3
    interface.settle_made_outputs(uses, original)  # 4
    elide_widening_casts(source_casts, uses)
    retarget_casts(source_casts, uses)
    interface.settle_inputs(uses, original)
    interface.settle_passed_outputs(uses, original)
    copies = store_literals(model, nodes, uses, names, plan.settings.init_conversion_max_bytes)  # 5
    casts = Casts(names)  # 6
    remove_redundant_casts(source_casts, casts)
    _satisfy(uses, copies, casts)
    remove_unread_casts(source_casts, uses)  # 7
    casts.place_at_start()
    interface.restore_names(names)
    set_kept_nodes(model, [node_id for node_id, precision in decided.items() if precision == Precision.FP32])
    return Applied(model, replace(plan, io_kept=interface.kept), casts.inserted)


def _match(model: ir.Model, plan: PrecisionPlan) -> tuple[dict[str, ir.Node], dict[str, Precision]]:
    by_id = dict(nodes_with_ids(model.graph))
    counted = {node_id for node_id, node in by_id.items() if is_counted(node)}
    decided = {decision.id: decision.precision for decision in plan.nodes}
    for missing, text in (
        (sorted(counted - set(decided)), "the plan says nothing of"),
        (sorted(set(decided) - counted), "the model lacks"),
    ):
        if missing:
            shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
            raise PlanError(f"the plan is for another structure: {text} {len(missing)} node(s): {shown}")
    return by_id, decided


def _moves(
    model: ir.Model, plan: PrecisionPlan, by_id: Mapping[str, ir.Node], decided: Mapping[str, Precision]
) -> dict[ir.Node, tuple[Operands, ir.DataType]]:
    policy = OperandPolicy.of_plan(model, plan)
    moves = {}
    for node_id, node in by_id.items():
        precision = decided.get(node_id, Precision.NONE)
        if precision.is_low or node.op_type in policy.plugins:
            low = precision if precision.is_low else plan.precision
            operands = float_operands(node, policy, low)
            if _moves_any(operands):
                if low is Precision.BF16 and low not in plan.low_types:
                    raise PlanError(
                        f"node {node_id} is {low} in a plan of {plan.precision}: give {plan.precision} or fp32, or both"
                        f" types as the plan's precision"
                    )
                moves[node] = (operands, low.dtype)
            elif low is plan.range_precision and operands.refusal is not None and operands.current is None:
                raise UnconvertibleError(f"node {node_id} is {low} in the plan: {operands.refusal}")
        elif precision is Precision.FP32:
            operands = wide_operands(node, policy)
            if _moves_any(operands):
                moves[node] = (operands, precision.dtype)
    return moves


def _moves_any(operands: Operands) -> bool:
    return any(operands.inputs) or any(operands.outputs)


def _satisfy(uses: Uses, copies: Mapping[tuple[ir.Value, ir.DataType], ir.Value], casts: Casts) -> None:
    """Let every reader read a version of its value that has the type it requested."""
    for readers in uses.by_value.values():
        for use in readers:
            value = use.place.read()
            if not use.required or value is None:
                continue
            wanted = copies.get((value, use.requested))
            if wanted is None:
                scope = use.place.graph if isinstance(use.place, GraphOutput) else None
                wanted = casts.version(value, use.requested, scope)
            if wanted is not value:
                use.place.write(wanted)
