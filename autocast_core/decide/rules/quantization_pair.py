"""Keep a QuantizeLinear and the DequantizeLinear nodes that read it in one precision; see `decide.groups`."""

from __future__ import annotations

from autocast_core.decide.groups import quantization_pairs
from autocast_core.decide.rule import NOTHING, Outcome, RuleEntry

QUANTIZATION_PAIR = RuleEntry(
    name="quantization_pair",
    title="quantization pair",
    description="The node is a QuantizeLinear or DequantizeLinear whose counterpart, of the same scale, stays in FP32.",
    outcome=Outcome.FP32,
    overridden_by=NOTHING,
    groups=quantization_pairs,
)
