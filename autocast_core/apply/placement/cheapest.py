"""The cheapest set of FP32 nodes around some that must be FP32, and for what it removes of an error: a minimum cut.

What a node costs by itself, what Casts cost and what an error is worth that only vanishes where several nodes are FP32
are all terms that a cut can carry (Kolmogorov, Zabih, What Energy Functions Can Be Minimized via Graph Cuts?, 2004), so
the result is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from math import fsum

from autocast_core.apply.placement.costs import Crossing, PrecisionCosts
from autocast_core.apply.placement.minimum_cut import FlowNetwork

_WIDE, _LOW = ("end", True), ("end", False)
_STEPS = 1 << 10
"""Parts of a unit of cost that are told apart: capacities are whole numbers."""

NO_GAINS: Mapping[frozenset[str], float] = {}


def cheapest(
    costs: PrecisionCosts,
    candidates: Iterable[str],
    *,
    required: AbstractSet[str] = frozenset(),
    excluded: AbstractSet[str] = frozenset(),
    groups: Iterable[AbstractSet[str]] = (),
    gains: Mapping[frozenset[str], float] = NO_GAINS,
) -> frozenset[str]:
    """The set of `candidates` with the least cost less gains; of several, the smallest.

    It holds all of `required` and none of `excluded`, and each of `groups` as a whole or not at all. Nodes that are
    neither candidates nor fixed count as low. `gains` says by set what it is worth that all its nodes are FP32, in the
    unit of the costs.
    """
    nodes = tuple(dict.fromkeys(candidates))
    free = {*nodes}
    network = FlowNetwork()
    forever = _forever(costs, gains)
    for node in nodes:
        own = round(costs.own.get(node, 0.0) * _STEPS)
        network.add(node, _LOW, forever if node in excluded else own)
        if node in required:
            network.add(_WIDE, node, forever)
    for group in groups:
        for one, other in pairwise(sorted(group & free)):
            network.add(one, other, forever, forever)
    for number in sorted({number for node in nodes for number in costs.crossings_of.get(node, ())}):
        _add_crossing(network, costs.crossings[number], number, costs.fixed, free, forever)
    for number, (members, gain) in enumerate(gains.items()):
        worth = round(gain * _STEPS)
        if worth > 0 and members <= free:
            together = ("gain", number)
            network.add(_WIDE, together, worth)
            for node in members:
                network.add(together, node, forever)
    return frozenset(nodes) & network.source_side(_WIDE, _LOW)


def regions(costs: PrecisionCosts, kept: AbstractSet[str]) -> Iterator[frozenset[str]]:
    """The connected parts of `kept`: nodes that share tensors, in the order of their names."""
    left = set(kept)
    for start in sorted(kept):
        if start not in left:
            continue
        found, open_nodes = {start}, [start]
        while open_nodes:
            for node in costs.neighbours.get(open_nodes.pop(), frozenset()) & left - found:
                found.add(node)
                open_nodes.append(node)
        left -= found
        yield frozenset(found)


def _forever(costs: PrecisionCosts, gains: Mapping[frozenset[str], float]) -> int:
    """More than any cut costs that a rule does not forbid."""
    whole = fsum((*map(abs, costs.own.values()), *(2 * each.cast for each in costs.crossings), *gains.values()))
    return round((whole + 1) * _STEPS) + len(costs.own) + 2 * len(costs.crossings) + len(gains)


def _add_crossing(
    network: FlowNetwork,
    crossing: Crossing,
    number: int,
    fixed: Mapping[str, bool],
    free: AbstractSet[str],
    forever: int,
) -> None:
    """A Cast down is paid where the maker is FP32 and a reader is not, one up where it is the other way round."""

    def end(name: str) -> object:
        known = fixed.get(name, None if name in free else False)
        return name if known is None else _WIDE if known else _LOW

    price = round(crossing.cast * _STEPS)
    readers = list(dict.fromkeys(end(reader) for reader in crossing.readers))
    maker = ("maker", number) if crossing.maker is None else end(crossing.maker)
    if not price or not readers or readers == [maker]:
        return
    if len(readers) == 1:
        network.add(maker, readers[0], price, price)
        return
    narrowed, widened = ("narrowed", number), ("widened", number)
    network.add(maker, narrowed, price)
    network.add(widened, maker, price)
    for reader in readers:
        network.add(narrowed, reader, forever)
        network.add(reader, widened, forever)
