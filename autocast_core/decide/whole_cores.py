"""Decides attention cores as one: a core that an engine can compute as one kernel is not split for a threshold's sake.

- Where rules that a release may override (``data_max``, small values) kept members in FP32 so that the core would be
  split, the first of these forms is taken that keeps it whole:

  1. the products low, with scale, masks and Softmax as they are, since what stands between the products may compute in
     any type; a product that another rule keeps stays in FP32, and what reads or feeds it is low: its operands are cast
     up in front of it and its result down behind it;
  2. those of all members low;
  3. with two 16-bit types, the whole core in the second one, where that has the range.

- What other rules keep is not touched: where it splits a core, the plan says what it is that does.
- The evidence has the price of every form that was tried, and of the split.
- Where the accuracy target needs a member in FP32, the repair that measures keeps it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir
from msgspec.structs import replace

from autocast_core.attention import AttentionCore, Elements, Obstacle, attention_cores, core_price, fusion_obstacles
from autocast_core.config import Precision
from autocast_core.decide.ranges.range_precision import RangeChoice
from autocast_core.plan import Evidence, NodeDecision

Decisions = Mapping[str, NodeDecision]


@dataclass(frozen=True)
class CoreChoices:
    """What is known beside the decisions: `is_soft` says which of them a measurement may release, `precision` is the
    low type, `second` what the rules say of another one, `elements` how many a value has in a batch."""

    is_soft: Callable[[NodeDecision], bool]
    precision: Precision
    elements: Elements
    second: RangeChoice | None = None


def whole_cores(
    graph: ir.Graph, nodes: Mapping[str, ir.Node], decisions: Decisions, choices: CoreChoices, rule: str
) -> Decisions:
    """`decisions` on `nodes` (by id) with the members of attention cores low that only thresholds kept, and what stands
    beside their products in FP32, where that keeps a core whole; `rule` is recorded as theirs."""
    decided = dict(decisions)
    for core in attention_cores(graph):
        judged = _Core(core, nodes, decided, choices)
        if judged.obstacles() and not judged.never_fuses():
            decided.update(_decided(judged, rule))
    return decided


def members_of_whole_cores(
    graph: ir.Graph, nodes: Mapping[str, ir.Node], decisions: Decisions, choices: CoreChoices
) -> frozenset[str]:
    """The computing members of the attention cores that are one kernel by `decisions`, with a product in FP32: what
    stands beside that has to stay low."""
    found = (_Core(core, nodes, decisions, choices) for core in attention_cores(graph))
    return frozenset(each for core in found if core.casts_up() and not core.obstacles() for each in core.core.computing)


def _decided(judged: _Core, rule: str) -> Decisions:
    """The first form of the core that is whole, else its members that are not in the low type, with the reasons why."""
    split, tried = f"as the other rules decide: {judged.price(_Form())}", list[str]()
    for form in judged.forms():
        tried.append(f"{form.name}: {judged.price(form)}")
        if not judged.obstacles(form):
            prices = _prices(*tried, split)
            return {each: _recorded(judged.decided[each], made, rule, prices) for each, made in form.changes.items()}
    obstacles = "; ".join(each.detail for each in judged.obstacles())
    why = Evidence(detail=f"the attention core is not one kernel: {obstacles}")
    prices = _prices(split, *tried, *judged.not_offered())
    others = (judged.decided[each] for each in judged.computing if judged.decided[each].precision is not judged.low)
    return {each.id: replace(each, evidence=(*each.evidence, why, prices)) for each in others}


def _prices(*forms: str) -> Evidence:
    return Evidence(detail=f"forms of the attention core, estimated: {'; '.join(forms)}")


def _recorded(decision: NodeDecision, made: Precision, rule: str, evidence: Evidence) -> NodeDecision:
    reason = f"an attention core stays one kernel; rule {decision.rule} had decided otherwise: {decision.reason}"
    return replace(decision, precision=made, rule=rule, reason=reason, evidence=(*decision.evidence, evidence))


@dataclass(frozen=True)
class _Form:
    """A way to compute a core: its name, and the precisions by id that differ from what was decided."""

    name: str = ""
    changes: Mapping[str, Precision] = field(default_factory=dict)


@dataclass(frozen=True)
class _Core:
    """A core, and what was decided of it and its surroundings."""

    core: AttentionCore
    nodes: Mapping[str, ir.Node]
    decided: Decisions
    choices: CoreChoices

    @property
    def low(self) -> Precision:
        """The first 16-bit type."""
        return self.choices.precision

    @property
    def computing(self) -> list[str]:
        """The members that have a precision."""
        known = (each for each in self.core.members if each in self.decided)
        return [each for each in known if self.decided[each].precision is not Precision.NONE]

    def casts_up(self) -> bool:
        """Whether a product is in FP32."""
        return any(map(self._is_wide, self.core.products))

    def forms(self) -> Iterator[_Form]:
        """The forms to try, those that change least first."""
        products = {each for each in self.core.products if self._is_soft(each)}
        kept = {each for each in self.core.products if self._is_wide(each)} - products
        beside = {each for each in self.core.beside(kept) if self._is_soft(each)}
        soft = {each for each in self.computing if self._is_soft(each)} | beside
        if products | beside:
            upcast = f"Q, K and V in {self.low}, cast up for {', '.join(sorted(kept))}"
            name = upcast if kept else f"products in {self.low}"
            yield _Form(name, dict.fromkeys(sorted(products | beside), self.low))
        if soft > products | beside:
            yield _Form(f"all that thresholds keep in {self.low}", dict.fromkeys(sorted(soft), self.low))
        second = self.choices.second
        if second is not None and not self._kept_from(second):
            yield _Form(f"all in {second.precision}", dict.fromkeys(self.computing, second.precision))

    def not_offered(self) -> Iterator[str]:
        """Why the core cannot have the second 16-bit type."""
        second = self.choices.second
        if second is None:
            if self.low is Precision.FP16:
                yield "all in bf16: not asked for (precision: [fp16, bf16])"
        elif kept := self._kept_from(second):
            yield f"all in {second.precision}: rule {second.decisions[kept[0]].rule} keeps {kept[0]!r} from it"

    def obstacles(self, form: _Form = _Form()) -> tuple[Obstacle, ...]:
        """What splits the core in this form."""
        return fusion_obstacles(self.core, self._types(form))

    def never_fuses(self) -> bool:
        """Whether the core's form keeps it from being one kernel whatever its types are."""
        return bool(self.obstacles(_Form("", dict.fromkeys(self.computing, self.low))))

    def price(self, form: _Form) -> str:
        """What the core costs in this form."""
        if self.core.operator is not None:
            return "split" if self.obstacles(form) else "one kernel"
        return str(core_price(self.core, self._types(form), self.nodes, self.low.dtype, self.choices.elements))

    def _types(self, form: _Form) -> dict[str, ir.DataType]:
        ends = (end for link in self.core.links for end in (link.source, link.target) if end is not None)
        known = {each: self.decided[each].precision for each in (*self.core.computing, *ends) if each in self.decided}
        known |= {each: made for each, made in form.changes.items() if each in known}
        return {each: made.dtype for each, made in known.items() if made is not Precision.NONE}

    def _kept_from(self, second: RangeChoice) -> list[str]:
        return [each for each in self.computing if not second.holds(each)]

    def _is_wide(self, node: str) -> bool:
        return node in self.decided and self.decided[node].precision is Precision.FP32

    def _is_soft(self, node: str) -> bool:
        return self._is_wide(node) and self.choices.is_soft(self.decided[node])
