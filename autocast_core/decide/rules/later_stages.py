"""What is recorded as the rule of a node that is decided anew after the rules have run: by `decide` itself where a
conversion has two 16-bit types or a threshold splits an attention core, else by later stages."""

from __future__ import annotations

from autocast_core.decide.rule import Outcome, Override, RuleEntry

RANGE = RuleEntry(
    name="range",
    title="range",
    description="`precision: [fp16, bf16]`: the range of FP16 alone kept the node in FP32, and BF16 has the range.",
    outcome=Outcome.LOW,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
    from_data=True,
)
ATTENTION_CORE = RuleEntry(
    name="attention_core",
    title="attention core",
    description="By measurement: the node is in an attention core, or beside one, that stays one kernel so; a threshold"
    " on single tensors had kept it, or another member needs the range of BF16.",
    outcome=Outcome.LOW,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
)
SEARCH = RuleEntry(
    name="search",
    title="search",
    description="A search made the node low, or kept it in FP32 to meet the budget.",
    outcome=Outcome.EITHER,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
    from_data=True,
)
REPAIR = RuleEntry(
    name="repair",
    title="repair",
    description="The simulated model missed its target with the node lowered, and meets it with the node in FP32.",
    outcome=Outcome.FP32,
    overridden_by=frozenset({Override.SEARCH}),
    from_data=True,
)
RELEASE = RuleEntry(
    name="release",
    title="release",
    description="A rule had kept the node, and the simulated model is as good without that.",
    outcome=Outcome.LOW,
    overridden_by=frozenset({Override.SEARCH, Override.NEW_WEIGHTS}),
    from_data=True,
)
FREE = RuleEntry(
    name="free",
    title="free",
    description="By measurement, for TensorRT: the node computes in FP32 inside a kernel, which adds no kernel and"
    " little traffic (`extra_traffic`), or only moves elements between such nodes.",
    outcome=Outcome.FP32,
    overridden_by=frozenset({Override.SEARCH}),
)
PLACEMENT = RuleEntry(
    name="placement",
    title="cast placement",
    description="The last pass over a plan, by measurement or by `autocast plan place-casts`: fewer bytes move with the"
    " node in this type.",
    outcome=Outcome.EITHER,
    overridden_by=frozenset({Override.SEARCH, Override.RELEASE, Override.NEW_WEIGHTS}),
)
TARGET = RuleEntry(
    name="target",
    title="target",
    description="The target's engine refuses the precision that the node had.",
    outcome=Outcome.EITHER,
    overridden_by=frozenset({Override.NEW_WEIGHTS}),
)
