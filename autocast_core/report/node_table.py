"""The per-node record of a plan as a table with stable columns: what node_precision.json holds."""

from __future__ import annotations

from typing import Any

from autocast_core.json_values import finite
from autocast_core.plan import Evidence, NodeDecision, PrecisionPlan

COLUMNS = (
    "id",
    "op_type",
    "domain",
    "precision",
    "rule",
    "reason",
    "tensor",
    "min",
    "max",
    "absmax",
    "limit",
    "replaces",
)


def node_table(plan: PrecisionPlan) -> dict[str, list[Any]]:
    """Column name to its cells, one per node in the plan's order.

    `tensor` to `limit` are the first evidence's, None where there is none or a number is not finite; `replaces` joins
    the names of the nodes that a fused node stands for. Columns and their order do not change.
    """
    rows = [_row(decision) for decision in plan.nodes]
    return {column: [row[index] for row in rows] for index, column in enumerate(COLUMNS)}


def _row(decision: NodeDecision) -> tuple[Any, ...]:
    evidence = decision.evidence[0] if decision.evidence else Evidence()
    return (
        decision.id,
        decision.op_type,
        decision.domain,
        decision.precision.value,
        decision.rule,
        decision.reason,
        evidence.tensor,
        *(finite(value) for value in (evidence.min, evidence.max, evidence.absmax, evidence.limit)),
        ", ".join(decision.replaces),
    )
