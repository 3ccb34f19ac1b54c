"""Decides attention cores as one: a core that an engine can compute as one kernel is not split for a threshold's sake.

- Where rules that a release may override (``data_max``, small values) kept members in FP32 so that the core would be
  split, the first of these is taken that keeps it whole: the products alone low, with scale, masks and Softmax as they
  are, since what stands between the products may compute in any type; all those members low; with two 16-bit types, the
  whole core in the second one, where that has the range.
- What other rules keep is not touched: where it splits a core, the plan says what it is that does.
- Where the accuracy target needs a member in FP32, the repair that measures keeps it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.attention import AttentionCore, Obstacle, attention_cores, fusion_obstacles
from autocast_core.config import Precision
from autocast_core.decide.ranges.range_precision import RangeChoice
from autocast_core.plan import Evidence, NodeDecision

Decisions = Mapping[str, NodeDecision]


def whole_cores(
    graph: ir.Graph,
    decisions: Decisions,
    is_soft: Callable[[NodeDecision], bool],
    precision: Precision,
    rule: str,
    choice: RangeChoice | None = None,
) -> Decisions:
    """`decisions` (by id) with the members of attention cores low that only thresholds kept, where that keeps a core
    whole; `rule` is recorded as theirs.

    `is_soft` says which decisions a measurement may release; `precision` is the low type, and `choice` what the rules
    say of the second one.
    """
    decided = dict(decisions)
    for core in attention_cores(graph):
        members = [each for each in core.members if each in decided]
        wide = [each for each in members if decided[each].precision is Precision.FP32]
        if not wide or not _obstacles(core, decided) or _never_fuses(core, members, decided, precision):
            continue
        for forms in _forms(core, members, decided, is_soft, precision, choice):
            if not _obstacles(core, decided, forms):
                decided.update({each: _recorded(decided[each], form.precision, rule) for each, form in forms.items()})
                break
        else:
            _tell(core, wide, decided)
    return decided


def _forms(
    core: AttentionCore,
    members: list[str],
    decided: Decisions,
    is_soft: Callable[[NodeDecision], bool],
    precision: Precision,
    choice: RangeChoice | None,
) -> Iterator[dict[str, NodeDecision]]:
    """The changes to try, those that change least first."""
    soft = [each for each in members if decided[each].precision is Precision.FP32 and is_soft(decided[each])]
    products = [each for each in soft if each in core.products]
    for chosen in (products, soft):
        if chosen:
            yield {each: replace(decided[each], precision=precision) for each in chosen}
    changing = [each for each in members if decided[each].precision is not Precision.NONE]
    if choice is not None and all(choice.holds(each) for each in changing):
        yield {each: replace(decided[each], precision=choice.precision) for each in changing}


def _obstacles(
    core: AttentionCore, decided: Decisions, forms: Decisions = MappingProxyType({})
) -> tuple[Obstacle, ...]:
    """What splits the core, by `decided` with `forms` in the place of some."""
    ends = (end for link in core.links for end in (link.source, link.target) if end is not None)
    known = {node: forms.get(node) or decided.get(node) for node in (*core.computing, *ends)}
    types = {
        node: each.precision.dtype for node, each in known.items() if each and each.precision is not Precision.NONE
    }
    return fusion_obstacles(core, types)


def _never_fuses(core: AttentionCore, members: list[str], decided: Decisions, precision: Precision) -> bool:
    """Whether the core's form keeps it from being one kernel whatever its types are."""
    low = {each: replace(decided[each], precision=precision) for each in members}
    return bool(_obstacles(core, decided, low))


def _recorded(decision: NodeDecision, precision: Precision, rule: str) -> NodeDecision:
    reason = f"an attention core stays one kernel; rule {decision.rule} had decided otherwise: {decision.reason}"
    return replace(decision, precision=precision, rule=rule, reason=reason)


def _tell(core: AttentionCore, wide: list[str], decided: dict[str, NodeDecision]) -> None:
    """Adds to the evidence of the members in FP32 that they split the core, and what of."""
    detail = "; ".join(each.detail for each in _obstacles(core, decided))
    evidence = Evidence(detail=f"the attention core is not one kernel: {detail}")
    for each in wide:
        decided[each] = replace(decided[each], evidence=(*decided[each].evidence, evidence))
