"""Where a search starts: the plan that lowers everything it may, and the nodes that it may keep in FP32."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from autocast_core.calibrate.statistics import Statistics, TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.decide.rule import Override
from autocast_core.decide.rules import RULES, SEARCH, entry_of
from autocast_core.graph.walk import is_counted, nodes_with_ids
from autocast_core.plan import NodeDecision, PrecisionPlan

RULE = SEARCH.name


@dataclass(frozen=True)
class Start:
    """`lowest` lowers all `candidates`; `groups` has, for a candidate that has some, all that need its precision."""

    lowest: PrecisionPlan
    candidates: tuple[str, ...]
    groups: Mapping[str, frozenset[str]]

    def together(self, nodes: Iterable[str]) -> frozenset[str]:
        """`nodes` and all that must have their precision."""
        return frozenset().union(*(self.groups.get(node, frozenset({node})) for node in nodes))

    def plan(self, kept: Iterable[str], reason: str = "") -> PrecisionPlan:
        """The plan that keeps `kept`, and what no plan lowers, in FP32."""
        changes = dict.fromkeys(kept, Precision.FP32)
        return self.lowest.with_precisions(changes, RULE, reason or "kept to meet the budget")


def start(
    model: ir.Model, config: ConversionConfig, weights: Mapping[str, TensorStats], changes: Iterable[Any] = ()
) -> Start:
    """The start for a sanitized `model`; `weights` and `changes` as decide() takes them.

    Rules that judge by data are not asked: the search measures instead.
    """
    nodes = {node_id: node for node_id, node in nodes_with_ids(model.graph) if is_counted(node)}
    asked = replace(
        config, data_max=float("inf"), init_max=float("inf"), small_values=False, max_depth_of_reduction=None
    )
    plan = decide(model, Statistics(), weights, asked, changes)
    lowered = {d.id: config.precision for d in plan.nodes if d.precision is Precision.FP32 and _is_open(d)}
    lowest = plan.with_precisions(lowered, RULE, "the search lowers what no budget needs in FP32")
    movable = {d.id for d in lowest.nodes if d.precision.is_low and _is_open(d)}
    floats = {d.id for d in lowest.nodes if d.precision is not Precision.NONE}
    joined = [group.nodes for entry in RULES if entry.groups is not None for group in entry.groups(nodes)]
    fixed = {node_id for group in joined if not group & floats <= movable for node_id in group}
    candidates = tuple(d.id for d in lowest.nodes if d.id in movable - fixed)
    groups = {node_id: group & floats for group in joined for node_id in group if node_id in candidates}
    return Start(lowest, candidates, groups)


def _is_open(decision: NodeDecision) -> bool:
    """Whether a search may decide the node otherwise."""
    return entry_of(decision.rule).may_be_overridden_by(Override.SEARCH)
