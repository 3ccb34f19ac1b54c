"""The precision plan: what every node computes in, and why."""

from autocast_core.plan.data import NodeError, PlacementRecord, PlanData, RepairRecord, TargetRecord, TargetStep
from autocast_core.plan.differences import DecisionChange, diff
from autocast_core.plan.plan import (
    PLAN_FORMAT,
    BiasCorrection,
    CorrectedBiases,
    Evidence,
    NodeDecision,
    PlanCounts,
    PrecisionPlan,
    SanitizeChange,
    WeightChange,
    read_plan,
)
from autocast_core.plan.settings import PlanSettings, PluginPrecision

__all__ = [
    "PLAN_FORMAT",
    "BiasCorrection",
    "CorrectedBiases",
    "DecisionChange",
    "Evidence",
    "NodeDecision",
    "NodeError",
    "PlacementRecord",
    "PlanCounts",
    "PlanData",
    "PlanSettings",
    "PluginPrecision",
    "PrecisionPlan",
    "RepairRecord",
    "SanitizeChange",
    "TargetRecord",
    "TargetStep",
    "WeightChange",
    "diff",
    "read_plan",
]
