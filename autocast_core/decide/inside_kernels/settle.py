"""Settles which nodes compute in FP32 inside kernels: chosen by models, checked by what an engine makes of the plan.

- Changes only nodes that are low because no rule kept them, and that compute elementwise, normalize or reduce, and what
  only moves elements between such. Products and nodes in bodies stay as they are.
- Takes nothing back that a rule decided, and makes no pass over data.
- Where the engine has a kernel more, or a fused attention core less, the nodes of those kernels stay low, those that
  normalize or reduce last, and the rest is chosen anew; so too, with less to spend, where more bytes cross than was
  allowed, and with more where far less do. Of a Cast that is a kernel of its own these are the nodes that it
  stands between.
- Where all these choices have a kernel more, or move too much, what crosses no kernel is tried last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.attention import attention_cores
from autocast_core.calibrate.statistics import Statistics
from autocast_core.config import Precision
from autocast_core.decide.inside_kernels.choose import chosen, chosen_inside, expected_gain
from autocast_core.decide.inside_kernels.crossings import crossings_of, moved_along
from autocast_core.engine.view import EngineView
from autocast_core.fusion import NodeKind, node_kind
from autocast_core.fusion.node_kinds import only_moves
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan

CastEnds = Mapping[str, Collection[str]]
"""By id of a Cast in a converted model, the nodes that it stands between."""


@dataclass(frozen=True)
class Look:
    """What an engine makes of the model: `before` by the plan as it is, and what tells it `of` others; None where that
    is not known. `estimated`: by the model of fusion, not by an engine that was built. `cast_ends` tells those
    of the model that a plan makes."""

    before: EngineView | None
    of: Callable[[PrecisionPlan], EngineView | None]
    estimated: bool = False
    cast_ends: Callable[[PrecisionPlan], CastEnds] = lambda _: {}


_MOST_LOOKS = 5
"""Engines built beside that of the plan as it was."""
_LESS = 0.95
"""What is allowed to cross, by the model, of what fits by the engine's measure, after a choice that did not fit."""

_USED = 0.8
"""Of what is allowed to cross; a choice that uses less is tried with more."""


def settle(
    model: ir.Model,
    plan: PrecisionPlan,
    statistics: Statistics,
    shapes: Mapping[str, tuple[int, ...]],
    extra_traffic: float,
    look: Look,
    rule: str,
    is_open: Callable[[NodeDecision], bool],
) -> PrecisionPlan:
    """`plan` for the sanitized `model` with those nodes in FP32, decided by `rule`, that cost no kernel and no more
    than the share `extra_traffic` of the bytes that the engine moves.

    `shapes` are those of values by name, for a usual batch; of others calibration counted the elements. `is_open` says
    which decisions may be changed. As it was where the view of its engine or its traffic is not known.
    """
    ids = {node_id: node for node_id, node in nodes_with_ids(model.graph) if node.graph is model.graph}
    decided = {each.id: each for each in plan.nodes}
    candidates = {node_id for node_id, node in ids.items() if node_id in decided and _may_widen(node, decided[node_id])}
    fixed = {node_id for node_id in ids if node_id in decided and decided[node_id].precision is Precision.FP32}
    candidates = {each for each in candidates - _cast_up(model.graph, fixed) if is_open(decided[each])}
    before = look.before
    if not candidates or before is None or not before.traffic_bytes:
        return plan
    crossings = crossings_of(ids, before, {**_counted(statistics), **shapes}, _mean_squares(statistics), plan.precision)
    allowed = extra_traffic * before.traffic_bytes
    budget, barred, best, was_too_much = allowed, set[str](), plan, False
    seen: list[set[str]] = [set()]
    for number in range(_MOST_LOOKS):
        wide = chosen(crossings, candidates - barred, fixed, budget)
        if number == _MOST_LOOKS - 1 and best is plan:
            wide = chosen_inside(crossings, candidates - barred, fixed)
        if wide in seen:
            break
        seen.append(wide)
        along = {each for each in moved_along(ids.items(), {*wide, *fixed}) if _is_low(decided.get(each), is_open)}
        made = _widened(plan, {*wide, *along}, rule, expected_gain(crossings, {*wide, *fixed}), look)
        after = look.of(made)
        if after is None or after.traffic_bytes is None:
            break
        worse = _worse(before, after, wide, partial(look.cast_ends, made))
        worse = {each for each in worse if node_kind(ids[each]) is not NodeKind.REDUCTION} or worse
        extra = after.traffic_bytes - before.traffic_bytes
        foreseen = crossings.bytes_beside(fixed, {*wide, *fixed})
        if not worse and extra <= allowed:
            best = made
            if was_too_much or extra >= _USED * allowed:
                break
            budget = foreseen + allowed - extra
        barred |= worse
        if extra > allowed:
            if best is not plan:
                break
            budget = _LESS * foreseen * allowed / extra
            if was_too_much:  # so it is not out of proportion: more crosses that is not foreseen, whatever is chosen
                budget = min(budget, allowed - (extra - foreseen))
            was_too_much = True
    return best


def _may_widen(node: ir.Node, decision: NodeDecision) -> bool:
    kind = node_kind(node)
    computes = kind in (NodeKind.ELEMENTWISE, NodeKind.REDUCTION) and not only_moves(node)
    return computes and decision.precision.is_low


def _cast_up(graph: ir.Graph, fixed: Collection[str]) -> set[str]:
    """What makes the operands of attention products in FP32, or reads their results: in FP32, too, it would split the
    core."""
    cores = attention_cores(graph)
    return {each for core in cores for each in core.beside([node for node in core.products if node in fixed])}


def _is_low(decision: NodeDecision | None, is_open: Callable[[NodeDecision], bool]) -> bool:
    return decision is not None and decision.precision.is_low and is_open(decision)


def _counted(statistics: Statistics) -> dict[str, tuple[int]]:
    """By name of a tensor its elements in a batch, as a shape."""
    return {name: (each.count // each.batches,) for name, each in statistics.tensors.items() if each.batches}


def _mean_squares(statistics: Statistics) -> Callable[[ir.Value], float | None]:
    def mean_square(value: ir.Value) -> float | None:
        found = statistics.tensors.get(str(value.name))
        size = None if found is None else found.root_mean_square
        return None if size is None else size * size

    return mean_square


def _widened(plan: PrecisionPlan, wide: Collection[str], rule: str, share: float, look: Look) -> PrecisionPlan:
    gain = -10 * math.log10(max(1 - share, 1e-3))
    reason = f"computes in FP32 inside a kernel: all such together are expected to gain {gain:.1f} dB"
    seen = "the model of fusion has" if look.estimated else "the engine has"
    evidence = (Evidence(detail=f"{seen} no more kernels with them, and no more traffic than extra_traffic allows"),)

    def widened(each: NodeDecision) -> NodeDecision:
        return replace(each, precision=Precision.FP32, rule=rule, reason=reason, evidence=evidence)

    return replace(plan, nodes=tuple(widened(each) if each.id in wide else each for each in plan.nodes))


def _worse(before: EngineView, after: EngineView, wide: Collection[str], cast_ends: Callable[[], CastEnds]) -> set[str]:
    """The nodes of `wide` in those parts of the network of which `after` makes more kernels, or fuses fewer cores, and
    at the ends of Casts that it makes kernels of their own."""
    if len(after.kernels) <= len(before.kernels) and after.attention_fused >= before.attention_fused:
        return set()
    parts = _parts(before, after)
    counts: dict[int, list[int]] = {}
    for side, view in enumerate((before, after)):
        for kernel in view.kernels:
            part = next((parts[node] for node in kernel.nodes if node in parts), None)
            if part is not None:
                count = counts.setdefault(part, [0, 0, 0, 0])
                count[side] += 1
                count[2 + side] += kernel.fused_attention
    bad = {part for part, (old, new, had, has) in counts.items() if new > old or has < had}
    found = {node for node in wide if parts.get(node) in bad}
    known = {node for kernel in before.kernels for node in kernel.nodes}
    alone = {node for kernel in after.kernels if kernel.only_moves for node in kernel.nodes} - known
    ends = cast_ends() if alone else {}
    found |= {end for cast in alone for end in ends.get(cast, ())} & {*wide}
    return found or set(wide)


def _parts(before: EngineView, after: EngineView) -> dict[str, int]:
    """The number of the part of the network that each node is in: nodes that share a kernel of either view."""
    part: dict[str, int] = {}
    members: dict[int, set[str]] = {}
    for number, kernel in enumerate((*before.kernels, *after.kernels)):
        joined = {*kernel.nodes}
        for old in {part[node] for node in kernel.nodes if node in part}:
            joined |= members.pop(old)
        members[number] = joined
        part.update(dict.fromkeys(joined, number))
    return part
