"""How many nodes of each operator type have which precision."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from autocast_core.config import Precision
from autocast_core.plan import PrecisionPlan


@dataclass(frozen=True)
class OperatorCount:
    """The nodes of one operator type: in 16 bits, in FP32, and without float tensors."""

    op_type: str
    low: int
    fp32: int
    none: int

    @property
    def total(self) -> int:
        return self.low + self.fp32 + self.none


def operator_counts(plan: PrecisionPlan, limit: int | None = None) -> tuple[OperatorCount, ...]:
    """Per operator type (``domain::Type`` outside ONNX's own domain), most frequent first.

    Beyond `limit` types the rest is summed as ``other``.
    """
    counts: dict[str, Counter[str]] = {}
    for decision in plan.nodes:
        name = f"{decision.domain}::{decision.op_type}" if decision.domain else decision.op_type
        kind = "low" if decision.precision.is_low else "fp32" if decision.precision is Precision.FP32 else "none"
        counts.setdefault(name, Counter())[kind] += 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    if limit is not None and len(ranked) > limit:
        rest = sum((counter for _, counter in ranked[limit - 1 :]), Counter())
        ranked = [*ranked[: limit - 1], ("other", rest)]
    return tuple(OperatorCount(name, each["low"], each["fp32"], each["none"]) for name, each in ranked)
