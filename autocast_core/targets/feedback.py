"""Fits a plan to a target engine: what the engine refuses changes its precision, round by round, by its own messages.

It starts from the known refusals (`refusals`). Then each round applies the plan and asks the engine; the node that its
parser or builder names goes to FP32, or to a 16-bit type where FP32 is what it refuses. A build error that names no
node widens the FP32 region upstream to the previous recurrent node, since engines fuse across the casts between them.
Rounds are capped; where the engine still refuses, the plan is the one that the rounds began with, and a warning says
so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.decide.groups import uncastable_groups
from autocast_core.decide.rules import TARGET
from autocast_core.engine.validation import Finding, Validation
from autocast_core.errors import UnconvertibleError
from autocast_core.graph.walk import nodes_with_ids
from autocast_core.operators import OperandPolicy, float_operands
from autocast_core.plan import PrecisionPlan, TargetRecord, TargetStep
from autocast_core.targets.refusals import TargetEngine

logger = logging.getLogger(__name__)

ROUNDS = 8
_RECURRENT = frozenset({"LSTM", "GRU", "RNN", "Loop", "Scan"})
_OF_ANOTHER_KIND = frozenset({"PLUGIN", "CRASH", "INVALID_GRAPH"})
"""Codes of refusals that no other precision resolves."""

Judge = Callable[[PrecisionPlan], Validation]


@dataclass(frozen=True)
class Fitted:
    """The fitted plan, whose ``data.target`` holds the steps, and the engine's last word."""

    plan: PrecisionPlan
    validation: Validation
    steps: tuple[TargetStep, ...]


def fit_plan(model: ir.Model, plan: PrecisionPlan, target: TargetEngine, judge: Judge, rounds: int = ROUNDS) -> Fitted:
    """`plan` for the sanitized `model`, changed until `judge` refuses nothing more or nothing more can be tried.

    `judge` applies a plan and asks the engine. Where the engine cannot be asked on this machine, the known refusals
    alone decide and a warning says so. Findings of types that disagree change nothing here.
    """
    graph = _Graph(model, plan)
    steps = list(_known_steps(graph, target))
    start = current = _stepped(plan, steps, target.measured_on)
    found, refusal = Validation(), None
    for number in range(1, rounds + 2):
        try:
            found = judge(current)
        except UnconvertibleError as error:
            refusal = Finding("", "", "APPLY", str(error))
            break
        refusal = found.refusal
        step = _next_step(number, refusal, current, graph, steps) if refusal is not None and number <= rounds else None
        if step is None:
            break
        logger.info("round %d: %s to %s: %s", number, ", ".join(step.nodes), step.after, step.message)
        steps.append(step)
        current = _stepped(current, [step], found.package or target.name)
    kept = start if refusal is not None else current
    warnings = _warnings(model, target, found, refusal)
    for warning in warnings:
        logger.warning("%s", warning)
    record = TargetRecord(
        name=target.name,
        measured_on=target.measured_on,
        package=found.package,
        depth=found.depth,
        accepted=refusal is None and found.depth != "none",
        steps=tuple(steps),
    )
    fitted = replace(kept, data=replace(kept.data, target=record), warnings=(*kept.warnings, *warnings))
    return Fitted(fitted, found, tuple(steps))


class _Graph:
    """What the steps ask of a model: nodes by id, groups that share a precision, who feeds whom."""

    def __init__(self, model: ir.Model, plan: PrecisionPlan) -> None:
        self.model = model
        self.plan = plan
        self.nodes = dict(nodes_with_ids(model.graph))
        self.ids = {node: node_id for node_id, node in self.nodes.items()}
        counted = {decision.id: self.nodes[decision.id] for decision in plan.nodes if decision.id in self.nodes}
        self._policy = OperandPolicy.of_plan(model, plan)
        self._groups = [group.nodes for group in uncastable_groups(counted)]

    def with_companions(self, node_ids: Iterable[str]) -> tuple[str, ...]:
        """The nodes, and those that share a value with them that no Cast takes."""
        wanted = dict.fromkeys(node_ids)
        for group in self._groups:
            if not group.isdisjoint(wanted):
                wanted |= dict.fromkeys(sorted(group))
        return tuple(wanted)

    def legal(self, node_id: str, precision: Precision) -> bool:
        """Whether ONNX, and for a plugin the user, lets the node have the precision."""
        low = precision if precision.is_low else self.plan.precision
        operands = float_operands(self.nodes[node_id], self._policy, low)
        if operands.demanded is not None:
            return operands.demanded is precision
        return precision is Precision.FP32 or operands.refusal is None

    def producers(self, node: ir.Node) -> list[ir.Node]:
        """The nodes that the node's inputs come from."""
        found = [value.producer() for value in node.inputs if value is not None]
        return [each for each in found if each is not None]

    def upstream_to_recurrent(self, starts: Sequence[str]) -> list[str]:
        """The nodes between `starts` and the recurrent nodes before them, these included; else the producers alone."""
        found: dict[ir.Node, None] = {}
        for start in starts:
            found |= dict.fromkeys(self._paths_to_recurrent(self.nodes[start]))
        if not found:
            found = dict.fromkeys(each for start in starts for each in self.producers(self.nodes[start]))
        return [self.ids[node] for node in found if node in self.ids]

    def _paths_to_recurrent(self, start: ir.Node) -> list[ir.Node]:
        reaches: dict[ir.Node, bool] = {}
        stack = [(node, False) for node in self.producers(start)]
        while stack:
            node, ready = stack.pop()
            if node.op_type in _RECURRENT:
                reaches[node] = True
            elif ready:
                reaches[node] = any(reaches.get(each, False) for each in self.producers(node))
            elif node not in reaches:
                reaches[node] = False
                stack.append((node, True))
                stack += [(each, False) for each in self.producers(node)]
        return [node for node, yes in reaches.items() if yes]


def _known_steps(graph: _Graph, target: TargetEngine) -> Iterator[TargetStep]:
    decided = graph.plan.by_id()
    by_kind: dict[tuple[str, Precision], list[str]] = {}
    refused = target.refused(graph.model, graph.plan)
    for node_id, refusal in refused.items():
        by_kind.setdefault((refusal.op, refusal.precision), []).append(node_id)
    for (_, before), node_ids in by_kind.items():
        after = _other(graph, node_ids[0], before, set())
        if after is not None:
            nodes = [i for i in graph.with_companions(node_ids) if decided[i].precision == before]
            yield TargetStep(0, tuple(nodes), before, after, refused[node_ids[0]].message)


def _next_step(
    number: int, refusal: Finding, plan: PrecisionPlan, graph: _Graph, steps: Sequence[TargetStep]
) -> TargetStep | None:
    """What to change after `refusal`; None where nothing is left to try."""
    if refusal.code in _OF_ANOTHER_KIND:
        return None
    decided = plan.by_id()
    if refusal.node not in decided:
        return _widened(number, refusal, plan, graph, steps)
    decision = decided[refusal.node]
    tried = {step.before for step in steps if refusal.node in step.nodes}
    after = _other(graph, refusal.node, decision.precision, tried)
    if after is None:
        # Its neighbours' types may be what it refuses: a builder names where its fusion broke.
        return _widened(number, refusal, plan, graph, steps) if refusal.code == "BUILD" else None
    same_kind = [
        each.id
        for each in plan.nodes
        if (each.op_type, each.domain, each.precision) == (decision.op_type, decision.domain, decision.precision)
    ]
    again = any(
        step.round > 0 and step.before == decision.precision and decided[step.nodes[0]].op_type == decision.op_type
        for step in steps
    )
    wanted = same_kind if again or refusal.code == "UNSUPPORTED_NODE" else [refusal.node]
    nodes = [i for i in graph.with_companions(wanted) if decided[i].precision == decision.precision]
    return TargetStep(number, tuple(nodes), decision.precision, after, refusal.words)


def _other(graph: _Graph, node_id: str, before: Precision, tried: set[Precision]) -> Precision | None:
    """What a node refused in `before` can have instead: FP32, else the plan's 16-bit types, else FP16."""
    if before is Precision.NONE:
        return None
    choices = dict.fromkeys((Precision.FP32, *graph.plan.low_types, Precision.FP16))
    left = (each for each in choices if each != before and each not in tried)
    return next((each for each in left if graph.legal(node_id, each)), None)


def _widened(
    number: int, refusal: Finding, plan: PrecisionPlan, graph: _Graph, steps: Sequence[TargetStep]
) -> TargetStep | None:
    """The FP32 region around what was changed so far, widened upstream."""
    decided = plan.by_id()
    starts = [node for step in steps if step.after is Precision.FP32 for node in step.nodes]
    if refusal.node in graph.nodes:
        starts.append(refusal.node)
    region = graph.with_companions(graph.upstream_to_recurrent(starts))
    nodes = tuple(i for i in region if i in decided and decided[i].precision.is_low)
    if not nodes:
        return None
    return TargetStep(number, nodes, decided[nodes[0]].precision, Precision.FP32, refusal.words)


def _stepped(plan: PrecisionPlan, steps: Iterable[TargetStep], package: str) -> PrecisionPlan:
    for step in steps:
        reason = f"{package} refuses it in {step.before}: {step.message}"
        plan = plan.with_precisions(dict.fromkeys(step.nodes, step.after), TARGET.name, reason)
    return plan


def _warnings(model: ir.Model, target: TargetEngine, found: Validation, refusal: Finding | None) -> list[str]:
    warnings: list[str] = []
    opset = target.opset_warning(model)
    if opset is not None:
        warnings.append(opset)
    if refusal is not None:
        who = f"{refusal.node} ({refusal.op}): " if refusal.node else ""
        warnings.append(
            f"{found.package or target.name} refuses the model in every precision that could be tried; the plan is as "
            f"without its feedback. Its message: {who}{refusal.words}"
        )
    elif found.depth == "none":
        reasons = "; ".join(found.skipped) or "not asked"
        warnings.append(f"{target.name} could not be asked ({reasons}); its known refusals alone were applied")
    elif found.depth == "parsed":
        warnings.append(f"{target.name} has only parsed the model ({'; '.join(found.skipped)})")
    return warnings
