"""Keep nodes whose activations exceed `data_max`, or are not finite in the reference.

- Looks at float activations that were measured; weights have `initializer_range`, other activations no say.
- Of a tensor that carries an attention mask, only the end without the mask counts, provided that the mask stays finite.
- Keeps a node where a tensor holds NaN or infinity in the FP32 reference, a mask's infinity excepted.
- Does not see to what may overflow on other data, which `headroom` does: a measured decision may release what it keeps.
"""

from __future__ import annotations

import math

from autocast_core.decide.node_facts import NodeFacts, TensorFacts, evidence_of
from autocast_core.decide.ranges.range_limits import range_limit
from autocast_core.decide.rule import SOFT, Outcome, RuleEntry, RuleMatch


class IORangeRule:
    """Applies where a float input or output reaches a magnitude over the limit, or holds NaN or inf.

    Of a tensor that carries an attention mask only the other end counts, provided that the mask stays finite.
    """

    name = "io_range"

    def __init__(self, data_max: float) -> None:
        self._limit = data_max

    def check(self, facts: NodeFacts) -> RuleMatch | None:
        for tensor in facts.tensors:
            if tensor.is_weight or tensor.stats is None:
                continue
            match = self._mask(tensor, facts.precision.max) if tensor.is_mask else self._plain(tensor)
            if match is not None:
                return match
        return None

    def _plain(self, tensor: TensorFacts) -> RuleMatch | None:
        assert tensor.stats is not None
        if tensor.stats.nonfinite:
            return RuleMatch(
                f"tensor {tensor.name!r} holds {tensor.stats.nonfinite} NaN or infinite elements in the FP32 reference",
                (evidence_of(tensor, self._limit, "not finite in the FP32 reference"),),
            )
        return self._over(tensor, tensor.stats.absmax)

    def _mask(self, tensor: TensorFacts, representable: float) -> RuleMatch | None:
        assert tensor.stats is not None
        if representable < tensor.masked_extreme < math.inf:
            return RuleMatch(
                f"mask {tensor.name!r} reaches {tensor.masked_extreme:.6g} in magnitude, which would become infinite",
                (evidence_of(tensor, representable),),
            )
        return self._over(tensor, tensor.unmasked_extreme)

    def _over(self, tensor: TensorFacts, magnitude: float) -> RuleMatch | None:
        if magnitude > self._limit:
            return RuleMatch(
                f"tensor {tensor.name!r} reaches {magnitude:.6g}, over data_max {self._limit:g}",
                (evidence_of(tensor, self._limit),),
            )
        return None


IO_RANGE = RuleEntry(
    name=IORangeRule.name,
    title="I/O range",
    description="A float activation exceeds `data_max` over the calibration data, or is not finite in FP32.",
    outcome=Outcome.FP32,
    overridden_by=SOFT,
    build=lambda model, config: IORangeRule(range_limit(config, "data_max")),
    about_range=True,
    from_data=True,
)
