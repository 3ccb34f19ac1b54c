"""A plan's decisions for another depth of the same family: by the names of blocks, else by their order.

- A node takes the decision of the node with its name, where the numbers in names count blocks: of the block at the
  corresponding depth, so that the first and the last blocks stay what they are.
- Where names number nodes and not blocks, both node lists are laid side by side: what stands before the row of equal
  blocks, in a block, and behind.
- A node that the rules keep in FP32 for the new model's own operators or weights stays there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from msgspec.structs import replace

from autocast_core.config import Precision
from autocast_core.plan import NodeDecision, PlanData, PrecisionPlan
from autocast_core.text import how_many

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Transferred:
    """A plan with carried decisions. `carried` are the nodes whose decision the given plan made, `kept` those that it
    lowers and that stay FP32 by a rule about the new model, `left` those without a counterpart, decided by the rules
    alone, and `unused` the given plan's FP32 nodes that decided none."""

    plan: PrecisionPlan
    carried: tuple[str, ...]
    kept: tuple[str, ...]
    left: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line: what was carried and what was not."""
        parts = [f"{len(self.carried):,} of {len(self.plan.nodes):,} decisions were carried over"]
        counted = (
            (len(self.left), ("node has", "nodes have"), "no counterpart (decided by the rules)"),
            (len(self.kept), ("node stays", "nodes stay"), "FP32 for what is known of this model"),
            (len(self.unused), ("FP32 node of the plan has", "FP32 nodes of the plan have"), "no counterpart here"),
        )
        parts += [f"{how_many(count, *nodes)} {what}" for count, nodes, what in counted if count]
        return "; ".join(parts)


def transferred(given: PrecisionPlan, fresh: PrecisionPlan) -> Transferred:
    """`fresh`, a plan by the rules for another model, with the decisions of `given` wherever a node has a counterpart.

    Nothing was measured for the result, which its warnings say.
    """
    counterparts = dict(_counterparts(given.nodes, fresh.nodes))
    carried, kept, left, nodes = list[str](), list[str](), list[str](), list[NodeDecision]()
    for node in fresh.nodes:
        source = counterparts.get(node.id)
        if source is None or Precision.NONE in (node.precision, source.precision):
            (carried if source is not None else left).append(node.id)
            nodes.append(node)
        elif source.precision.is_low and node.precision is Precision.FP32:
            kept.append(node.id)
            nodes.append(node)
        else:
            carried.append(node.id)
            reason = f"carried over from {source.id}" + (f": {source.reason}" if source.reason else "")
            nodes.append(replace(node, precision=source.precision, rule=source.rule, reason=reason, evidence=()))
    used = {source.id for source in counterparts.values()}
    unused = tuple(n.id for n in given.nodes if n.precision is Precision.FP32 and n.id not in used)
    plan = replace(fresh, nodes=tuple(nodes), settings=given.settings, data=PlanData())
    found = Transferred(plan, tuple(carried), tuple(kept), tuple(left), unused)
    warning = f"carried over from a plan for another depth, nothing was measured: {found.summary()}"
    return Transferred(
        replace(plan, warnings=(warning, *plan.warnings)), *(found.carried, found.kept, found.left, unused)
    )


def _counterparts(given: Sequence[NodeDecision], fresh: Sequence[NodeDecision]) -> Iterator[tuple[str, NodeDecision]]:
    by_name = dict(_by_name(given, fresh))
    by_order = dict(_by_order(given, fresh)) if len(by_name) < len(fresh) else {}
    for node in fresh:
        source = by_name.get(node.id, by_order.get(node.id))
        if source is not None and source.op_type == node.op_type:
            yield node.id, source


def _by_name(given: Iterable[NodeDecision], fresh: Sequence[NodeDecision]) -> Iterator[tuple[str, NodeDecision]]:
    """Nodes of the same name up to the numbers of blocks, which run from the same first one in both models."""
    sources: dict[str, dict[tuple[int, ...], NodeDecision]] = {}
    for node in given:
        sources.setdefault(_pattern(node.id), {})[_numbers(node.id)] = node
    targets: dict[str, list[NodeDecision]] = {}
    for node in fresh:
        targets.setdefault(_pattern(node.id), []).append(node)
    scaled = {pattern: _scales(sources[pattern], nodes) for pattern, nodes in targets.items() if pattern in sources}
    depths = {(len(each), len({*each.values()})) for scales in scaled.values() for each in scales if _is_other(each)}
    if len(depths) > 1:
        return  # such names number the nodes of each operator, not the blocks
    for pattern, scales in scaled.items():
        for node in targets[pattern]:
            places = zip(scales, _numbers(node.id), strict=True)
            wanted = tuple(-1 if scale is None else scale.get(number, -1) for scale, number in places)
            if wanted in sources[pattern]:
                yield node.id, sources[pattern][wanted]


_Scale = dict[int, int] | None


def _scales(old: Mapping[tuple[int, ...], NodeDecision], nodes: Iterable[NodeDecision]) -> list[_Scale]:
    """For each number in the names of one pattern what `_scale` says of it."""
    before, after = zip(*old, strict=True), zip(*(_numbers(node.id) for node in nodes), strict=True)
    return [_scale(sorted({*one}), sorted({*other})) for one, other in zip(before, after, strict=True)]


def _is_other(scale: _Scale) -> TypeGuard[dict[int, int]]:
    """Whether the scale says that there is another number of blocks."""
    return scale is not None and any(new != old for new, old in scale.items())


def _scale(old: Sequence[int], new: Sequence[int]) -> _Scale:
    """By number in the new model that in the old one; None where the numbers do not count blocks."""
    if set(new) <= set(old) and len(old) == len(new):
        return {number: number for number in new}
    counts_blocks = all(list(each) == list(range(each[0], each[0] + len(each))) for each in (old, new))
    if not counts_blocks or old[0] != new[0] or min(len(old), len(new)) < 2:
        return None
    return {number: old[place] for number, place in zip(new, _scaled(len(new), len(old)), strict=True)}


def _scaled(new: int, old: int) -> list[int]:
    """For each of `new` blocks the corresponding one of `old`: the first and the last stay that."""
    if new == 1:
        return [0]
    return [round(block * (old - 1) / (new - 1)) for block in range(new)]


def _by_order(given: Sequence[NodeDecision], fresh: Sequence[NodeDecision]) -> Iterator[tuple[str, NodeDecision]]:
    """Nodes at the same place before, in and behind the one row of equal blocks that has another length."""
    old, new = [n.op_type for n in given], [n.op_type for n in fresh]
    if old == new:
        yield from zip((n.id for n in fresh), given, strict=True)
        return
    longer = max(old, new, key=len)
    more = abs(len(new) - len(old))
    row = _row(longer, more)
    if row is None:
        return
    start, period, blocks = row
    fewer = blocks - more // period
    if fewer < 1:
        return
    of_new, of_old = (blocks, fewer) if len(new) > len(old) else (fewer, blocks)
    behind_new, behind_old = start + of_new * period, start + of_old * period
    block_of = _scaled(of_new, of_old)
    for place, node in enumerate(fresh):
        if place < start:
            other = place
        elif place < behind_new:
            other = start + block_of[(place - start) // period] * period + (place - start) % period
        else:
            other = place - behind_new + behind_old
        if other < len(given):
            yield node.id, given[other]


def _row(kinds: Sequence[str], more: int) -> tuple[int, int, int] | None:
    """Where the row of equal blocks starts that holds `more` nodes than another's, the nodes of a block, and how many
    blocks there are; None without one."""
    for period in (size for size in range(1, more + 1) if more % size == 0):
        start = length = best_start = best = 0
        for place in range(len(kinds) - period):
            if kinds[place] == kinds[place + period]:
                start, length = (start, length + 1) if length else (place, 1)
                if length > best:
                    best_start, best = start, length
            else:
                length = 0
        if best >= max(more, period) and len(set(kinds[best_start : best_start + period])) > 1:
            return best_start, period, (best + period) // period
    return None


def _pattern(node_id: str) -> str:
    return _NUMBER.sub("#", node_id)


def _numbers(node_id: str) -> tuple[int, ...]:
    return tuple(int(number) for number in _NUMBER.findall(node_id))
