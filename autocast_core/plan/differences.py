"""What two plans decide differently."""

from __future__ import annotations

from dataclasses import dataclass

from autocast_core.plan.plan import NodeDecision, PrecisionPlan


@dataclass(frozen=True)
class DecisionChange:
    """One node that two plans decide differently; None on the side that does not have it."""

    id: str
    before: NodeDecision | None
    after: NodeDecision | None


def diff(before: PrecisionPlan, after: PrecisionPlan) -> tuple[DecisionChange, ...]:
    """The nodes whose precision, rule or reason differ, in the order of `before`, then the new ones of `after`."""
    old, new = before.by_id(), after.by_id()
    changes = []
    for node_id in [*old, *(node_id for node_id in new if node_id not in old)]:
        left, right = old.get(node_id), new.get(node_id)
        if left is None or right is None or _what_and_why(left) != _what_and_why(right):
            changes.append(DecisionChange(node_id, left, right))
    return tuple(changes)


def _what_and_why(decision: NodeDecision) -> tuple[str, str, str]:
    return decision.precision, decision.rule, decision.reason
