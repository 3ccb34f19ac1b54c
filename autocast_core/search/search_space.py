"""What a search chooses from: the plan that lowers everything it may, and the nodes that it may keep in FP32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.rule import Override
from autocast_core.decide.rules import PLACEMENT, RELEASE, REPAIR, RULES, SEARCH, entry_of
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.sanitize import Change


@dataclass(frozen=True)
class SearchSpace:
    """The plans that a search may choose from.

    `lowest` is the plan that lowers all `candidates`, which are node ids in the order of the plan. `groups` has, for a
    candidate that needs the precision of other nodes, all nodes of its group. Plans name `rule` for what they keep.
    """

    lowest: PrecisionPlan
    candidates: tuple[str, ...]
    groups: Mapping[str, frozenset[str]]
    rule: str = SEARCH.name

    def together(self, nodes: Iterable[str]) -> frozenset[str]:
        """`nodes` and all that must have their precision."""
        return frozenset().union(*(self.groups.get(node, frozenset({node})) for node in nodes))

    def plan(self, kept: Iterable[str], reason: str = "") -> PrecisionPlan:
        """The plan that keeps `kept`, and what no plan lowers, in FP32. PlanError where `kept` names no node of it."""
        changes = dict.fromkeys(kept, Precision.FP32)
        return self.lowest.with_precisions(changes, self.rule, reason or "kept to meet the budget")


def search_space(
    model: ir.Model, config: ConversionConfig, weights: Mapping[str, TensorStats], changes: Iterable[Change] = ()
) -> SearchSpace:
    """The search space of a sanitized `model`; `weights` and `changes` are as `decide` takes them.

    Rules that judge by ranges or depth do not run, and what other rules keep in FP32 is lowered where the registry says
    that a search may override them: the search measures instead. Groups of nodes that need one precision are candidates
    only as a whole. Raises as `decide`.
    """
    unlimited = replace(
        config, data_max=float("inf"), init_max=float("inf"), small_values=False, max_depth_of_reduction=None
    )
    plan = decide(model, Statistics(), weights, unlimited, changes)
    lowered = {d.id: config.precision for d in plan.nodes if d.precision is Precision.FP32 and _is_open(d)}
    lowest = plan.with_precisions(lowered, SEARCH.name, "the search lowers what no budget needs in FP32")
    lowest = with_own_signs(model, lowest, plan, weights)
    return _space(model, lowest, {d.id for d in lowest.nodes if d.precision.is_low and _is_open(d)}, SEARCH.name)


def repair_space(model: ir.Model, plan: PrecisionPlan) -> SearchSpace:
    """The plans that keep more nodes in FP32 than `plan` does: any that it lowers and a search may decide otherwise."""
    movable = {d.id for d in plan.nodes if d.precision.is_low and _is_open(d)}
    return _space(model, plan, movable, REPAIR.name)


def release_space(model: ir.Model, plan: PrecisionPlan) -> SearchSpace:
    """The plans that keep fewer nodes in FP32 than `plan` does, of those whose rule a release may override."""
    soft = soft_nodes(plan)
    lowest = plan.with_precisions(dict.fromkeys(soft, plan.precision), RELEASE.name, "released")
    return _space(model, lowest, set(soft), RELEASE.name)


def soft_nodes(plan: PrecisionPlan) -> tuple[str, ...]:
    """The nodes that `plan` keeps by a rule that a release may override; those that only the placement of Casts keeps
    may go with others, which they were moved to."""
    kept = (d for d in plan.nodes if d.precision is Precision.FP32)
    soft = [d for d in kept if entry_of(d.rule).may_be_overridden_by(Override.RELEASE)]
    return tuple(d.id for d in soft) if any(d.rule != PLACEMENT.name for d in soft) else ()


def _space(model: ir.Model, lowest: PrecisionPlan, movable: AbstractSet[str], rule: str) -> SearchSpace:
    """The space of the plans that keep some of the `movable` nodes, each with its group or not at all."""
    floats = {d.id for d in lowest.nodes if d.precision is not Precision.NONE}
    joined = _groups(model)
    fixed = {node_id for group in joined if not group & floats <= movable for node_id in group}
    left = movable - fixed
    candidates = tuple(d.id for d in lowest.nodes if d.id in left)
    groups = {node_id: group & floats for group in joined for node_id in group if node_id in left}
    return SearchSpace(lowest, candidates, groups, rule)


def _is_open(decision: NodeDecision) -> bool:
    """Whether a search may decide the node otherwise."""
    return entry_of(decision.rule).may_be_overridden_by(Override.SEARCH)


def _groups(model: ir.Model) -> list[frozenset[str]]:
    """The groups of nodes that need one precision, by their ids."""
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    return [group.nodes for entry in RULES if entry.groups is not None for group in entry.groups(nodes)]
