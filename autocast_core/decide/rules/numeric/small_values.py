"""Keep nodes whose tensors lose too much to FP16's subnormal range.

- Looks at weights and activations alike, at what rounding the whole tensor costs.
- By measurement (``decide: measured``) judges a tensor by the sums that it ends in: what their rounding hides does not
  count (`absorbed_rounding`). By thresholds judges each tensor alone.
- Does not look at attention masks, nor at the smallest element: every normal weight matrix has tiny elements.
- Does not run for BF16, which has FP32's exponents, nor with ``small_values`` off.
"""

from __future__ import annotations

from autocast_core.config import Precision
from autocast_core.decide.node_facts import NodeFacts, evidence_of
from autocast_core.decide.rounding.absorbed_rounding import ROUNDING_LIMIT, UNDERFLOW_LIMIT
from autocast_core.decide.rule import SOFT, Outcome, RuleEntry, RuleMatch


class SmallValuesRule:
    """Applies where a tensor's own rounding error, or its share of vanishing elements, exceeds the limit.

    A mere small minimum would match every normal weight matrix, so it does not count.
    """

    name = "small_values"

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for tensor in facts.tensors:
            if tensor.stats is None or tensor.is_mask or tensor.is_absorbed:
                continue
            error, share = tensor.stats.rounding_error, tensor.stats.underflow_share
            if error is not None and error > ROUNDING_LIMIT:
                return RuleMatch(
                    f"rounding {tensor.name!r} to {facts.precision} alone costs a relative L2 of {error:.2e}, "
                    f"over {ROUNDING_LIMIT:.2e}",
                    (evidence_of(tensor, ROUNDING_LIMIT, f"relative L2 of rounding {error:.6g}"),),
                )
            if share is not None and share > UNDERFLOW_LIMIT:
                return RuleMatch(
                    f"{share:.1%} of the non-zero elements of {tensor.name!r} become 0 in {facts.precision}, "
                    f"over {UNDERFLOW_LIMIT:.0%}",
                    (evidence_of(tensor, UNDERFLOW_LIMIT, f"share of vanishing elements {share:.6g}"),),
                )
        return None


SMALL_VALUES = RuleEntry(
    name=SmallValuesRule.name,
    title="small values",
    description="FP16: rounding a tensor costs a relative L2 over 2^-9, or over 1% of its elements become zero; by "
    "measurement only where the sums that it ends in do not absorb that.",
    outcome=Outcome.FP32,
    overridden_by=SOFT,
    build=lambda model, config: (
        SmallValuesRule() if config.small_values and config.precision is Precision.FP16 else None
    ),
    about_range=True,
    from_data=True,
)
