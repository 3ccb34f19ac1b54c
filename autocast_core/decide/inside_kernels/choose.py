"""Chooses the nodes that compute in FP32: all that may, then without those that gain least for what they make cross."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from autocast_core.decide.inside_kernels.crossings import Crossings

Bundle = tuple[str, ...]
"""The ids of nodes that go together, sorted."""
_ROUNDS = 3
"""How often what was taken out may go in again."""


def chosen(crossings: Crossings, candidates: Collection[str], fixed: Collection[str], most_bytes: float) -> set[str]:
    """The candidates to compute in FP32 so that at most `most_bytes` more cross; `fixed` nodes are in FP32 anyway.

    From all candidates on, the bundle is taken out that loses the least accuracy a byte, until the rest fits. What then
    gains more a byte, since what made it dear is gone (a norm, once the stream that it reads is low), goes in again for
    what else is worth less. What gains nothing then goes too. Where nothing is left, what crosses no kernel is chosen.
    Ties are broken by id.
    """
    wide = {*candidates, *fixed}
    bundles = _bundles(crossings, candidates)
    for _ in range(_ROUNDS):
        dearest = _take_out(crossings, bundles, wide, crossings.bytes_beside(fixed, wide) - most_bytes)
        back = {each for each in candidates if each not in wide and _price(crossings, (each,), wide | {each}) > dearest}
        back = {each for each in back if crossings.gain(each, wide | {each})}
        if not back:
            break
        wide |= back
    else:
        _take_out(crossings, bundles, wide, crossings.bytes_beside(fixed, wide) - most_bytes)
    return _useful(crossings, wide - {*fixed}, fixed) or chosen_inside(crossings, candidates, fixed)


def chosen_inside(crossings: Crossings, candidates: Collection[str], fixed: Collection[str]) -> set[str]:
    """The candidates to compute in FP32 so that nothing crosses for them but their constants."""
    return _useful(crossings, _inside(crossings, {*candidates}, {*fixed}), fixed)


def _take_out(crossings: Crossings, bundles: Mapping[str, Sequence[Bundle]], wide: set[str], excess: float) -> float:
    """Takes those bundles out of `wide` that lose the least accuracy a byte, until `excess` bytes fewer cross; the
    highest price paid."""
    waiting = [(_price(crossings, each, wide), each) for each in {*chain.from_iterable(bundles.values())}]
    heapq.heapify(waiting)
    dearest = 0.0
    while excess > 0 and waiting:
        price, bundle = heapq.heappop(waiting)
        if wide.isdisjoint(bundle):
            continue
        now = _price(crossings, bundle, wide)
        if now > price:
            heapq.heappush(waiting, (now, bundle))
            continue
        dearest = max(dearest, now)
        excess -= _without(crossings, bundle, wide)[1]
        wide.difference_update(bundle)
        near = {other for node in bundle for other in (node, *_neighbours(crossings, node))}
        for other in {*chain.from_iterable(bundles[node] for node in near if node in bundles)}:
            if not wide.isdisjoint(other):
                heapq.heappush(waiting, (_price(crossings, other, wide), other))
    return dearest


def _bundles(crossings: Crossings, candidates: Collection[str]) -> dict[str, list[Bundle]]:
    """The bundles that each candidate is in: itself, and all that read one result in other kernels.

    A normalization and the next sum read the same sum of a residual stream. Without one of them it crosses in FP32 for
    the other all the same, so only both together save what it costs.
    """
    readers = (
        tuple(sorted({each.reader for each in made.readings if each.crosses} & {*candidates}))
        for made in crossings.made.values()
    )
    found: dict[str, list[Bundle]] = {each: [(each,)] for each in candidates}
    for bundle in {each for each in readers if len(each) > 1}:
        for node in bundle:
            found[node].append(bundle)
    return found


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
    gone += sum(crossings.rounded.get(node, 0.0) for node in wide)
    return gone / crossings.noise if crossings.noise else 0.0


def _without(crossings: Crossings, bundle: Bundle, wide: set[str]) -> tuple[float, int]:
    """The accuracy lost and the bytes saved without those nodes of the bundle that are in `wide`."""
    members = [each for each in bundle if each in wide]
    near = {node for each in members for node in (each, *crossings.producers.get(each, ()))}
    lost, saved = 0.0, sum(crossings.bytes_of(each, wide) for each in near)
    for node in members:
        lost += crossings.gain(node, wide)
        wide.discard(node)
    saved -= sum(crossings.bytes_of(each, wide) for each in near)
    wide.update(members)
    return lost, saved


def _price(crossings: Crossings, bundle: Bundle, wide: set[str]) -> float:
    """What is lost a byte without the bundle; infinite where no byte is saved."""
    lost, saved = _without(crossings, bundle, wide)
    return lost / saved if saved > 0 else float("inf")


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
