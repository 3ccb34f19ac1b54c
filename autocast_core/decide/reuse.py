"""A plan made for one checkpoint, used for another of the same architecture."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import onnx_ir as ir
from msgspec import UNSET
from msgspec.structs import replace

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.calibrate.weights import scan_weights
from autocast_core.config import Precision
from autocast_core.decide.rounding.guarded_nodes import find_guarded_nodes
from autocast_core.decide.rules import GUARDS, INITIALIZER_RANGE, entry_of
from autocast_core.decide.warnings.weight_changes import recounted_weights
from autocast_core.errors import PlanError
from autocast_core.graph.walk import all_nodes, is_counted, nodes_with_ids
from autocast_core.model import weights_digest
from autocast_core.model.structure_digest import structure_digest
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.plan import PrecisionPlan
from autocast_core.progress import ProgressCallback, silent
from autocast_core.sanitize import mask_paths

logger = logging.getLogger(__name__)


def reuse_plan(
    model: ir.Model, plan: PrecisionPlan, init_max: float, progress: ProgressCallback = silent
) -> PrecisionPlan:
    """`plan` for a sanitized `model`: refused for another structure, checked anew for other weights.

    With other weights, nodes whose initializers now exceed `init_max` are kept in FP32, as are those whose guard
    against zero the low type would lose, and a warning says so; another says which weights hold NaN or infinity. What
    the plan says of weights is counted anew. Raises PlanError, naming nodes, when the structure differs.
    """
    _require_same_structure(model, plan)
    digest = weights_digest(model)
    if digest == plan.weights_digest:
        return plan
    stats = scan_weights(model, plan.precision, progress)
    violators = dict.fromkeys(_violators(model, plan, stats, init_max), Precision.FP32)
    warning = "the plan was made for other weights of the same structure"
    if violators:
        warning += f"; {len(violators)} node(s) with initializers over init_max {init_max:g} are kept in FP32"
    guarded = dict.fromkeys(_guarded(model, plan, stats), Precision.FP32)
    if guarded:
        warning += f"; {len(guarded)} node(s) whose guard against zero {plan.precision} would lose are kept in FP32"
    reused = plan.with_precisions(
        violators, INITIALIZER_RANGE.name, f"an initializer of these weights exceeds init_max {init_max:g}"
    )
    reused = reused.with_precisions(guarded, GUARDS.name, f"{plan.precision} would lose a guard of these weights")
    if plan.biases is not UNSET:
        warning += "; its corrections of biases, which are for those weights, are left out"
    reused = replace(reused, weights=recounted_weights(model, reused, stats), biases=UNSET)
    nonfinite = reused.nonfinite_weights()
    warnings = (warning,) if nonfinite is None else (warning, nonfinite)
    for each in warnings:
        logger.warning("%s", each)
    return replace(reused, weights_digest=digest, warnings=(*plan.warnings, *warnings))


def _violators(model: ir.Model, plan: PrecisionPlan, stats: Mapping[str, TensorStats], init_max: float) -> list[str]:
    """The nodes that would store a weight over `init_max` in 16 bits (in the second type of two: over its range),
    without being asked to; masks do no harm."""
    masks = {name for path in mask_paths(model) for name in path.values}
    limits = {each: init_max if each is plan.precision else each.max for each in plan.low_types}
    over = {
        precision: {name for name, each in stats.items() if each.absmax > limit} - masks
        for precision, limit in limits.items()
    }
    policy = OperandPolicy.of_plan(model, plan)
    decisions = plan.by_id()
    found = []
    for node_id, node in nodes_with_ids(model.graph):
        decision = decisions.get(node_id)
        if decision is None or not decision.precision.is_low or entry_of(decision.rule).binds_low:
            continue
        beyond = over.get(decision.precision, over[plan.precision])
        if any(value.name in beyond for value in float_operands(node, policy, decision.precision).moved_inputs(node)):
            found.append(node_id)
    return found


def _guarded(model: ir.Model, plan: PrecisionPlan, stats: Mapping[str, TensorStats]) -> list[str]:
    """The low nodes whose guard against zero their type would lose, without being asked to."""
    guards = {each: find_guarded_nodes(all_nodes(model.graph), stats, each) for each in plan.low_types}
    if not any(guards.values()):
        return []
    decisions = plan.by_id()
    found = []
    for node_id, node in nodes_with_ids(model.graph):
        decision = decisions.get(node_id)
        if decision is None or not decision.precision.is_low or entry_of(decision.rule).binds_low:
            continue
        if node in guards.get(decision.precision, guards[plan.precision]):
            found.append(node_id)
    return found


def _require_same_structure(model: ir.Model, plan: PrecisionPlan) -> None:
    if structure_digest(model) == plan.structure_digest:
        return
    here = {node_id: node.op_type for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    there = {decision.id: decision.op_type for decision in plan.nodes}
    differing = [
        *(f"{node_id} (only in the model)" for node_id in here if node_id not in there),
        *(f"{node_id} (only in the plan)" for node_id in there if node_id not in here),
        *(f"{i} ({there[i]} in the plan)" for i in here if there.get(i, here[i]) != here[i]),
    ]
    shown = ", ".join(differing[:5]) + (" …" if len(differing) > 5 else "")
    what = f"{len(differing)} node(s) differ: {shown}" if differing else "edges, attributes or shapes differ"
    raise PlanError(f"the plan is for another structure: {what}; make a plan for this model")
