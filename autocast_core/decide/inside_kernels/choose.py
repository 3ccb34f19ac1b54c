"""Chooses the nodes that compute in FP32: all that may, then without those that gain least for what they make cross."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from autocast_core.decide.inside_kernels.crossings import Crossings


def chosen(crossings: Crossings, candidates: Collection[str], fixed: Collection[str], most_bytes: float) -> set[str]:
    """The candidates to compute in FP32 so that at most `most_bytes` more cross; `fixed` nodes are in FP32 anyway.

    From all candidates on, the one is taken out that loses the least accuracy a byte, until the rest fits. What gains
    nothing then goes too. Where nothing is left, what crosses no kernel is chosen. Ties are broken by id.
    """
    wide = {*candidates, *fixed}
    extra = crossings.bytes_beside(fixed, wide)
    waiting = [(_price(crossings, each, wide), each) for each in candidates]
    heapq.heapify(waiting)
    while extra > most_bytes and waiting:
        price, node = heapq.heappop(waiting)
        if node not in wide:
            continue
        now = _price(crossings, node, wide)
        if now > price:
            heapq.heappush(waiting, (now, node))
            continue
        extra -= _saved(crossings, node, wide)
        wide.discard(node)
        for other in _neighbours(crossings, node):
            if other in wide and other not in fixed:
                heapq.heappush(waiting, (_price(crossings, other, wide), other))
    found = _useful(crossings, wide - {*fixed}, fixed)
    return found or _useful(crossings, _inside(crossings, {*candidates}, {*fixed}), fixed)


def _inside(crossings: Crossings, wide: set[str], fixed: set[str]) -> set[str]:
    """`wide` without nodes at both ends of what would cross in FP32: what is left adds constants alone."""
    while True:
        everything = wide | fixed
        ends = set[str]()
        for node, made in crossings.made.items():
            if crossings.bytes_of(node, everything) > 2 * crossings.constants.get(node, 0):
                ends |= {node, *(each.reader for each in made.readings if each.crosses)} & wide
        if not ends:
            return wide
        wide = wide - ends


def expected_gain(crossings: Crossings, wide: Collection[str]) -> float:
    """The share of the noise of all roundings that goes with `wide` in FP32, 0 to 1."""
    gone = sum(
        each.weight
        for node in wide
        if node in crossings.made
        for each in crossings.made[node].readings
        if each.reader in wide
    )
    return gone / crossings.noise if crossings.noise else 0.0


def _saved(crossings: Crossings, node: str, wide: set[str]) -> int:
    before = crossings.bytes_around(node, wide)
    wide.discard(node)
    after = crossings.bytes_around(node, wide)
    wide.add(node)
    return before - after


def _price(crossings: Crossings, node: str, wide: set[str]) -> float:
    """What is lost a byte without the node; infinite where no byte is saved."""
    saved = _saved(crossings, node, wide)
    return crossings.gain(node, wide) / saved if saved > 0 else float("inf")


def _neighbours(crossings: Crossings, node: str) -> Iterable[str]:
    readers = (each.reader for each in crossings.made[node].readings) if node in crossings.made else ()
    return {*readers, *crossings.producers.get(node, ())}


def _useful(crossings: Crossings, wide: set[str], fixed: Collection[str]) -> set[str]:
    """`wide` without nodes that neither read from nor are read by another in FP32."""
    while True:
        everything = {*wide, *fixed}
        idle = {each for each in wide if not crossings.gain(each, everything)}
        if not idle:
            return wide
        wide -= idle
