"""The sets that trade cost against error best, as the additive error model expects it: corners of its convex hull.

Each is the cheapest set where the whole error is worth some cost, found by a minimum cut, so that Casts and errors that
vanish only where several nodes are FP32 count as they are. Two neighbours on the hull are told by the worth at which
they are equally good (Eisner, Severance, Mathematical Techniques for Efficient Record Segmentation in Large Shared
Databases, 1976). Each set contains those before it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

from autocast_core.apply.placement import PrecisionCosts, cheapest
from autocast_core.search.attribution.error_sites import ErrorSite
from autocast_core.search.search_space import SearchSpace

_MOST_CUTS = 48
_LEAST = 1e-9
"""Share of the error below which nothing is told apart."""


def trade_offs(
    space: SearchSpace, costs: PrecisionCosts, sites: Mapping[ErrorSite, float]
) -> tuple[frozenset[str], ...]:
    """The sets from none to all candidates, each cheaper than the next; where gaps are widest most are found."""
    groups = set(space.groups.values())
    total = sum(sites.values()) or 1.0
    everything = frozenset(space.candidates)

    def removed(kept: frozenset[str]) -> float:
        return math.fsum(share for site, share in sites.items() if site <= kept) / total

    none: frozenset[str] = frozenset()
    whole = cheapest(costs, space.candidates, groups=groups, required=frozenset().union(*sites))
    found, cuts = {none, whole, everything}, 0
    gaps: list[tuple[float, int, frozenset[str], frozenset[str]]] = []

    def look_between(less: frozenset[str], more: frozenset[str]) -> None:
        width = math.log((1 - removed(less) + _LEAST) / (1 - removed(more) + _LEAST))
        if len(more - less) > 1 and width > 0:
            heapq.heappush(gaps, (-width, len(found), less, more))

    look_between(none, whole)
    while gaps and cuts < _MOST_CUTS:
        _, _, less, more = heapq.heappop(gaps)
        cuts += 1
        price, gained = costs.of(more) - costs.of(less), removed(more) - removed(less)
        if price <= 0 or gained <= 0:
            continue
        worth = price / gained
        gains = {site: worth * share / total for site, share in sites.items()}
        between = cheapest(costs, space.candidates, groups=groups, gains=gains)
        if less < between < more:
            found.add(between)
            look_between(less, between)
            look_between(between, more)
    return tuple(sorted(found, key=lambda kept: (len(kept), removed(kept))))
