"""Cast placement, a last pass over a plan: nodes that may be either type move to the side on which fewer bytes move.

A minimum cut over the bytes of Casts and of wider tensors decides, so the result is the cheapest there is.

- Low nodes may become FP32. FP32 nodes that only hand numbers on become low where only low nodes read them, which
  changes no number. So the result is at least as accurate as the plan.
- Does not touch attention cores, groups of nodes that need one precision with one that may not move, nor what an
  option or a rule about exact quantities decided. Casts at nodes of the rule `free` are inside kernels and cost
  nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
from msgspec import structs

from autocast_core.apply.placement import PrecisionCosts, cheapest, traffic_costs
from autocast_core.attention import attention_cores
from autocast_core.calibrate import scan_weights
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.rule import Override
from autocast_core.decide.rules import FREE, PLACEMENT, entry_of
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model import ModelSource
from autocast_core.operators.families import HANDS_ON, is_in
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_config, planned_graph
from autocast_core.pipeline.stage import Artifacts, in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.reuse import REUSE
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import NodeDecision, PlacementRecord, PrecisionPlan
from autocast_core.progress import ProgressCallback, silent
from autocast_core.search.costs.measured_sizes import measured_sizes
from autocast_core.search.search_space import repair_space


def place_casts_file(src: ModelSource, plan: PrecisionPlan, progress: ProgressCallback = silent) -> PrecisionPlan:
    """`plan` for the model at `src` with its Casts placed; ``data.placement`` has what that changes.

    Sizes of tensors are those of one sample. Raises as apply_plan_file.
    """
    job = Job(src, planned_config(ConversionConfig(), plan), progress=progress)
    made = run_stages((LOAD, SANITIZE, REUSE), in_this_process(job), Artifacts({PrecisionPlan: plan}))
    fitted = made[PrecisionPlan]
    model = planned_graph(made[SanitizedSource], fitted).model
    counts = measured_sizes(model, next(iter(job.batches(model, None)), {}), job.runtime)
    placed = place_casts(model, fitted, counts)
    return with_own_signs(model, placed, fitted, scan_weights(model, plan.precision, progress))


def place_casts(model: ir.Model, plan: PrecisionPlan, counts: Mapping[str, int]) -> PrecisionPlan:
    """`plan`, which is for the sanitized `model`, with its Casts placed; `counts` has tensors' elements by name."""
    choice = _Choice.of(model, plan)
    movable = choice.widened | choice.narrowed
    costs = _outside_kernels(traffic_costs(model, plan, movable, counts), plan)
    kept = cheapest(costs, sorted(movable), groups=choice.groups)
    if costs.of(kept) >= costs.of(choice.narrowed):
        kept = choice.narrowed
    wide = dict.fromkeys(kept & choice.widened, Precision.FP32)
    low = dict.fromkeys(choice.narrowed - kept, plan.precision)
    record = PlacementRecord(
        moved=tuple(sorted({*wide, *low})),
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
    """Which nodes may move: low ones that may be FP32, and FP32 ones that may be low; `groups` move as a whole."""

    widened: frozenset[str]
    narrowed: frozenset[str]
    groups: frozenset[frozenset[str]]

    @staticmethod
    def of(model: ir.Model, plan: PrecisionPlan) -> _Choice:
        space, decided = repair_space(model, plan), plan.by_id()
        core = {member for each in attention_cores(model.graph) for member in each.members}
        blocked = {node for node in space.candidates if decided[node].precision is not plan.precision} | core
        widened = frozenset(node for node in space.candidates if not space.together([node]) & blocked)
        grouped = frozenset().union(*space.groups.values())
        ids = {node: node_id for node_id, node in nodes_with_ids(model.graph)}
        narrowed = frozenset(
            node_id
            for node, node_id in ids.items()
            if node_id not in core | grouped and _only_hands_on(node, node_id, ids, decided)
        )
        groups = frozenset(group for node, group in space.groups.items() if node in widened)
        return _Choice(widened, narrowed, groups)


def _only_hands_on(
    node: ir.Node, node_id: str, ids: Mapping[ir.Node, str], decided: Mapping[str, NodeDecision]
) -> bool:
    """Whether a node kept in FP32 hands numbers on, to low nodes alone."""
    own = decided.get(node_id)
    if own is None or own.precision is not Precision.FP32 or not is_in(node, HANDS_ON):
        return False
    if own.rule == FREE.name or not entry_of(own.rule).may_be_overridden_by(Override.SEARCH):
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
