"""The precision plan: what every node computes in, and why."""

from autocast_core.plan.plan import (
    PLAN_FORMAT,
    DecisionChange,
    Evidence,
    NodeDecision,
    PlanCounts,
    PrecisionPlan,
    WeightChange,
    diff,
    read_plan,
)

__all__ = [
    "PLAN_FORMAT",
    "DecisionChange",
    "Evidence",
    "NodeDecision",
    "PlanCounts",
    "PrecisionPlan",
    "WeightChange",
    "diff",
    "read_plan",
]
