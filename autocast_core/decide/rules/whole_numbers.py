"""Keep nodes on whole numbers that 16 bits do not hold."""

from __future__ import annotations

from autocast_core.config import Precision
from autocast_core.decide.node_facts import NodeFacts, RuleMatch, evidence_of

EXACT: dict[Precision, float] = {Precision.FP16: 2.0**11, Precision.BF16: 2.0**8}
"""Up to here every whole number has a representation: 11 and 8 bits of significand (IEEE 754 binary16, bfloat16)."""


class WholeNumbersRule:
    """Fires where a tensor of whole numbers (ids, positions, counts computed from integers) exceeds the exact range."""

    name = "whole_numbers"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        limit = EXACT[facts.precision]
        for tensor in facts.tensors:
            if tensor.is_whole and tensor.stats is not None and tensor.stats.absmax > limit:
                return RuleMatch(
                    f"{tensor.name!r} holds whole numbers up to {tensor.stats.absmax:.6g}; {facts.precision} is exact "
                    f"up to {limit:g}",
                    (evidence_of(tensor, limit, "whole numbers"),),
                )
        return None
