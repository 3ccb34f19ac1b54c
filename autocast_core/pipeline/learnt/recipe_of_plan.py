"""Makes a recipe of plans: their decisions that rest on data, by pattern instead of by node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from msgspec import UNSET
from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.decide.rules import entry_of
from autocast_core.errors import PlanError
from autocast_core.evaluate.metric_names import WORST_BATCH_SQNR
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.model.structure_digest import structure_digest
from autocast_core.plan import NodeDecision, PrecisionPlan
from autocast_core.precision import types_text
from autocast_core.recipes import Recipe, RecipeDecision, RecipeMeasurement
from autocast_core.recipes.neighbourhood import neighbourhood
from autocast_core.recipes.numbered_names import numbered_names


@dataclass(frozen=True)
class PlanFigures:
    """The SQNR in dB of the worst output's worst batch, in simulation: by the plan, and with all nodes low that it
    keeps in FP32 for what data showed. None where nothing was measured."""

    by_plan: float | None = None
    all_low: float | None = None


_PATH = re.compile(r"^graph/(?:.*:[A-Za-z_]\w*(?:\[\d+\])?/)?")


def recipe_of_plans(
    name: str,
    family: str,
    model_name: str,
    plans: Sequence[PrecisionPlan],
    models: Sequence[ir.Model] = (),
    figures: Sequence[PlanFigures] = (),
) -> Recipe:
    """The recipe of the decisions in `plans` that rest on data: what rules about ranges and rounding, a repair or a
    search keep in FP32, and what a search or a release lowers.

    Without `models` a node is known again by its name, with the numbers open in which such nodes differ. With them (the
    graphs that the plans are for, one for each) by what it reads and what reads it, where no other node of the model is
    alike; else by both. `figures` are what was measured of each plan. What holds for several 16-bit types
    is said once. PlanError where no decision rests on data.
    """
    found: dict[tuple[object, ...], RecipeDecision] = {}
    for number, plan in enumerate(plans):
        graph = None if not models else models[number]
        for each in _decisions(plan, graph):
            key = (each.op_type, each.domain, each.precision, each.names, each.reads, each.read_by)
            same = found.get(key)
            found[key] = each if same is None else replace(same, types=tuple(dict.fromkeys((*same.types, *each.types))))
    if not found:
        raise PlanError("no decision of the plan rests on data: there is nothing to keep in a recipe")
    measured = tuple(
        _measurement(model_name, plan, figures[number] if figures else PlanFigures())
        for number, plan in enumerate(plans)
    )
    return Recipe(name, family, tuple(found.values()), measured)


def _measurement(model: str, plan: PrecisionPlan, figures: PlanFigures) -> RecipeMeasurement:
    counts, ratio = plan.counts(), figures.by_plan
    if ratio is None and plan.data.metrics is not UNSET:
        ratio = plan.data.metrics.get(WORST_BATCH_SQNR)
    if ratio is None and plan.data.repair is not UNSET:
        ratio = plan.data.repair.sqnr_db_after
    return RecipeMeasurement(
        model,
        types_text(plan.low_types),
        counts.fp32,
        counts.low_precision,
        plan.structure_digest,
        plan.data.origin,
        plan.data.batches,
        plan.data.backend,
        None if ratio is None else round(ratio, 2),
        None if figures.all_low is None else round(figures.all_low, 2),
        plan.engine_version,
    )


def rests_on_data(decision: NodeDecision) -> bool:
    """Whether measured ranges, a repair or a search decided, so that without data it would not be known."""
    return entry_of(decision.rule).from_data


def _decisions(plan: PrecisionPlan, model: ir.Model | None) -> Iterator[RecipeDecision]:
    """The plan's decisions by pattern: those of equal operator, precision and neighbourhood together."""
    nodes = _nodes(plan, model)
    learnt = [each for each in plan.nodes if rests_on_data(each)]
    types = tuple(kind.value for kind in plan.low_types)
    shares = _shares(plan)
    groups: dict[RecipeDecision, list[NodeDecision]] = {}
    for each in learnt:
        groups.setdefault(_pattern(each, nodes, types), []).append(each)
    for pattern, members in groups.items():
        others = [each for each in plan.nodes if _contradicts(each, members[0]) and _looks_alike(each, pattern, nodes)]
        names: tuple[str, ...] = ()
        if pattern.reads is UNSET or others:
            names = numbered_names(map(_name, members), [_name(each) for each in others])
        share = sum(shares[each.id] for each in members if each.id in shares)
        rules = list(dict.fromkeys(each.rule for each in members))
        yield replace(
            pattern,
            names=names,
            reason=members[0].reason,
            rule=", ".join(rules),
            nodes=len(members),
            share=round(share, 6) if shares else None,
        )


def _nodes(plan: PrecisionPlan, model: ir.Model | None) -> Mapping[str, ir.Node]:
    """The model's nodes by id. PlanError where it is not the plan's."""
    if model is None:
        return {}
    if structure_digest(model) != plan.structure_digest:
        raise PlanError("the plan was made for another structure than the model's: give the model of the plan")
    return dict(nodes_with_ids(model.graph))


def _pattern(decision: NodeDecision, nodes: Mapping[str, ir.Node], types: tuple[str, ...]) -> RecipeDecision:
    """The node's operator, its precision, and what is around it where the model is known."""
    precision = "low" if _low(decision) else "fp32"
    pattern = RecipeDecision(decision.op_type, precision, "", types, decision.domain)  # type: ignore[arg-type]
    if decision.id not in nodes:
        return pattern
    around = neighbourhood(nodes[decision.id])
    return replace(pattern, reads=around.reads, read_by=around.read_by)


def _contradicts(decision: NodeDecision, member: NodeDecision) -> bool:
    """Whether a node of the same operator has the other precision."""
    same = (decision.op_type, decision.domain) == (member.op_type, member.domain)
    return same and decision.precision is not Precision.NONE and _low(decision) != _low(member)


def _looks_alike(decision: NodeDecision, pattern: RecipeDecision, nodes: Mapping[str, ir.Node]) -> bool:
    """Whether the node has the neighbourhood of the pattern; True where the model is not known."""
    if decision.id not in nodes:
        return True
    around = neighbourhood(nodes[decision.id])
    return (around.reads, around.read_by) == (pattern.reads, pattern.read_by)


def _low(decision: NodeDecision) -> bool:
    return decision.precision is not Precision.FP32


def _name(decision: NodeDecision) -> str:
    """The node's name, without the path to the body that it is in."""
    return _PATH.sub("", decision.id, count=1)


def _shares(plan: PrecisionPlan) -> Mapping[str, float]:
    return {each.id: each.share for each in (() if plan.data.attribution is UNSET else plan.data.attribution)}
