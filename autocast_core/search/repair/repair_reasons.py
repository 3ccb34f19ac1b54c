"""Why a measured decision decided nodes anew, in the words of the plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import structs

from autocast_core.config import Precision
from autocast_core.decide.rules import RELEASE, REPAIR
from autocast_core.evaluate.metric_names import WORST_BATCH_SQNR
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan
from autocast_core.search.attribution import Attribution
from autocast_core.search.result import CertificateEntry


def with_kept(
    plan: PrecisionPlan,
    kept: Collection[str],
    missed: str,
    ratios: tuple[Mapping[str, float], Mapping[str, float]],
    attribution: Attribution,
    entries: Sequence[CertificateEntry],
) -> PrecisionPlan:
    """`plan` with the nodes `kept` in FP32, since without them `missed` is not reached.

    `ratios` are the metrics before and after; the evidence is each node's share of the error before, and what its
    certificate entry measured, where it has one.
    """
    shares = {node.id: node.share for node in attribution.nodes}
    certificate = {node: entry for entry in entries for node in entry.lowered}
    reason = f"kept to reach {missed}{_change(*ratios)}"

    def repaired(decision: NodeDecision) -> NodeDecision:
        details = []
        if decision.id in shares:
            details.append(f"{shares[decision.id]:.2%} of the error of the rules' plan enters here")
        entry = certificate.get(decision.id)
        if entry is not None:
            details += [f"lowered again: {gate.expression} fails ({gate.reason})" for gate in entry.failing]
        evidence = (*decision.evidence, *(Evidence(detail=detail) for detail in details))
        return structs.replace(decision, precision=Precision.FP32, rule=REPAIR.name, reason=reason, evidence=evidence)

    return structs.replace(plan, nodes=tuple(repaired(each) if each.id in kept else each for each in plan.nodes))


def with_released(
    plan: PrecisionPlan, released: Collection[str], ratios: tuple[Mapping[str, float], Mapping[str, float]]
) -> PrecisionPlan:
    """`plan` with the nodes `released` low, of which the rule that kept them is named."""
    change = _change(*ratios)

    def lowered(decision: NodeDecision) -> NodeDecision:
        reason = f"rule {decision.rule} kept it for nothing{change}: {decision.reason}"
        return structs.replace(decision, precision=plan.precision, rule=RELEASE.name, reason=reason)

    return structs.replace(plan, nodes=tuple(lowered(each) if each.id in released else each for each in plan.nodes))


def _change(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """The ratios of the worst batch before and after; empty where one is unknown."""
    if WORST_BATCH_SQNR not in before or WORST_BATCH_SQNR not in after:
        return ""
    return f", {before[WORST_BATCH_SQNR]:.4g} dB before and {after[WORST_BATCH_SQNR]:.4g} dB after"
