"""Keep nodes on whole numbers that 16 bits do not hold.

- Looks at measured tensors that the graph shows to be whole numbers (`exact_values.ExactValues.whole`).
- Does not look at activations that merely happen to be whole, nor at attention masks, of which no exact value matters.
"""

from __future__ import annotations

from autocast_core.decide.exact_quantities.exact_values import WHOLE_LIMIT
from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.rule import INCLUDE_ONLY, Outcome, RuleEntry, RuleMatch


class WholeNumbersRule:
    """Applies where a tensor of whole numbers (ids, positions, counts) exceeds the range that the type has exactly."""

    name = "whole_numbers"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        limit = WHOLE_LIMIT[facts.precision]
        for tensor in facts.tensors:
            if tensor.is_whole and not tensor.is_mask and tensor.stats is not None and tensor.stats.absmax > limit:
                return RuleMatch(
                    f"{tensor.name!r} holds whole numbers up to {tensor.stats.absmax:.6g}; {facts.precision} is exact "
                    f"up to {limit:g}",
                    (evidence_of(tensor, limit, "whole numbers"),),
                )
        return None


WHOLE_NUMBERS = RuleEntry(
    name=WholeNumbersRule.name,
    title="whole numbers",
    description="A tensor of whole numbers exceeds what the type holds exactly: 2048 in FP16, 256 in BF16.",
    outcome=Outcome.FP32,
    overridden_by=INCLUDE_ONLY,
    build=lambda model, config: WholeNumbersRule(),
    exact_operands=True,
)
