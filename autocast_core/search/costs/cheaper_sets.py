"""A cheap set of FP32 nodes made cheaper where Casts cost: whole regions of it, and single nodes, are lowered or moved.

One node of a region says little, since its Casts only move; and a neighbour more in FP32 can be cheaper than the Casts
between. So these are tried of a set that meets the budget: the set without each of its connected regions and each of
its nodes, with what is then cheaper in FP32 (a minimum cut), and the sets that a search for few nodes would try. As
many together as are expected to pass come first; where none of that passes, each alone, and what passes is combined. In
the end every node is certified: lowering it misses the budget, or saves nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace

from autocast_core.apply.placement import cheapest, regions
from autocast_core.evaluate.metric_names import WORST_REL_L2
from autocast_core.search.attribution import Attribution
from autocast_core.search.attribution.error_sites import steps
from autocast_core.search.budget import Budget
from autocast_core.search.measure import Measurements
from autocast_core.search.minimal_set import (
    MeasuringLimits,
    MinimalSet,
    Tester,
    entry_of_trial,
    minimal_set,
    most_expected,
    smaller_certified,
    smaller_set,
    spread,
)
from autocast_core.search.ranking import Kept, Ranking, ranked
from autocast_core.search.result import CertificateEntry

_PASSES = 3
"""Passes in which a round's sets are measured; side by side where there are several workers."""
_MOST = 60
"""Sets that a round measures."""
_HOPS = 2
"""How far from a set completions reach."""
_BY_NUMBER = 12
"""Sets that a search for few nodes would try."""


def cheapest_set(
    ranking: Ranking, attribution: Attribution, measure: Measurements, budget: Budget, limits: MeasuringLimits
) -> MinimalSet:
    """The cheapest set that is found where Casts cost, as `minimal_set`: never costlier than the set of fewest nodes,
    which is looked for, too, and made cheaper where it moves less."""
    found = minimal_set(ranking, attribution, measure, budget, limits, cheaper_certified)
    if found.stopped is not None:
        return found
    by_number = ranked(ranking.space, attribution)
    fewest = minimal_set(by_number, attribution, measure, budget, limits, smaller_certified)
    start = frozenset(fewest.kept)
    if ranking.cost(start) < ranking.cost(frozenset(found.kept)):
        return smaller_set(ranking, measure, budget, limits, start, cheaper_certified) or found
    return replace(found, stopped=fewest.stopped)


def cheaper_certified(tester: Tester, passes: int = _PASSES) -> tuple[CertificateEntry, ...]:
    """Makes `tester.best`, which meets the budget, cheaper until nothing tried does; one entry for each of its nodes. A
    round takes so many `passes`, or more where a pass would be too large.

    LimitReachedError where measurements are used up before; `tester.best` is the cheapest set even then.
    """
    tried = _by_number(tester.ranking, tester.best)
    while True:
        base = tester.best
        wanted = list(dict.fromkeys([*_variants(tester.ranking, base), *tried]))
        tried = []
        if wanted:
            _measure(tester, base, wanted, passes)
        if tester.best == base:
            return _entries(tester, passes)


def _measure(tester: Tester, base: Kept, wanted: Sequence[Kept], passes: int) -> None:
    """Measures the most promising of the sets that are cheaper than `base`: together as many as are expected to pass,
    and where none of that is cheaper each alone, then combinations of what passes."""
    ranking = tester.ranking
    price = ranking.cost(base)
    cheaper = [kept for kept in wanted if ranking.cost(kept) < price]
    cheaper.sort(key=lambda kept: (-ranking.removed(kept), ranking.cost(kept), sorted(kept)))
    chosen = cheaper[:_MOST]
    if _measure_together(tester, base, [base - kept for kept in chosen]):
        return
    trials = tester.trials(chosen, passes)
    passing = [(trial, kept) for trial, kept in zip(trials, chosen, strict=True) if tester.budget.met(trial)]
    passing.sort(key=lambda each: (each[0].metrics.get(WORST_REL_L2, 0.0), ranking.cost(each[1])))
    if len(passing) < 2:
        return
    lowered = [base - kept for _, kept in passing]
    _measure_unions(tester, base, lowered, [*spread(1, len(passing)), len(passing)])


def _measure_together(tester: Tester, base: Kept, lowered: Sequence[Kept]) -> bool:
    """Whether `base` without several of `lowered` is cheaper, as many as are expected to pass, and passes."""
    sets = [base - frozenset().union(*lowered[:length]) for length in range(len(lowered) + 1)]
    expected = most_expected(tester, tester.ranking, sets)
    if expected is None or expected < 2:
        return False
    step = max(1, expected // 8)
    lengths = [length for place in (-2, -1, 0, 1) if 1 < (length := expected + place * step) <= len(lowered)]
    _measure_unions(tester, base, lowered, lengths)
    return tester.best != base


def _measure_unions(tester: Tester, base: Kept, lowered: Sequence[Kept], lengths: Sequence[int]) -> None:
    """Measures the sets around `base` without so many of `lowered` that are cheaper."""
    ranking, price = tester.ranking, tester.ranking.cost(base)
    combined = [_completed(ranking, base, frozenset().union(*lowered[:length])) for length in lengths]
    tester.trials([kept for kept in dict.fromkeys(combined) if ranking.cost(kept) < price])


def _variants(ranking: Ranking, base: Kept) -> Iterator[Kept]:
    """The set with what is cheaper in FP32 beside it, and without each region and each node, alone and completed."""
    space, costs = ranking.space, ranking.costs
    yield cheapest(costs, space.candidates, required=base, groups=set(space.groups.values()))
    whole = (space.together(region) & base for region in regions(costs, base))
    parts = [*whole, *(space.together([node]) & base for node in sorted(base))]
    for part in dict.fromkeys(parts):
        yield base - part
        yield _completed(ranking, base, part)


def _completed(ranking: Ranking, base: Kept, lowered: Kept) -> Kept:
    """The cheapest set around `base` without `lowered`."""
    near = _within_reach(ranking, base)
    groups = {group - lowered for node in near if (group := ranking.space.groups.get(node)) is not None}
    candidates = sorted(near.union(*groups))
    return cheapest(ranking.costs, candidates, required=base - lowered, excluded=lowered, groups=groups)


def _within_reach(ranking: Ranking, base: Kept) -> Kept:
    found = set(base)
    for _ in range(_HOPS):
        found |= {other for node in found for other in ranking.costs.neighbours.get(node, frozenset())}
    return frozenset(found) & ranking.everything


def _by_number(ranking: Ranking, base: Kept) -> list[Kept]:
    """What a search for few nodes would try: beginnings of its ranking that remove as much error, and half of it. As
    far as costs rise with their lengths, so that few are priced."""
    space, found, kept = ranking.space, [], frozenset[str]()
    least = 0.5 * ranking.removed(base)
    for step in steps(ranking.sites, space.candidates):
        kept = (kept | space.together(step.nodes)) & ranking.everything
        if ranking.removed(kept) >= least:
            found.append(kept)
    cheaper = bisect_left(found, ranking.cost(base), key=ranking.cost)
    groups = set(space.groups.values())
    chosen = (found[place - 1] for place in spread(0, cheaper + 1, _BY_NUMBER))
    return [cheapest(ranking.costs, space.candidates, required=kept, groups=groups) for kept in chosen]


def _entries(tester: Tester, passes: int) -> tuple[CertificateEntry, ...]:
    ranking = tester.ranking
    base, nodes = tester.best, ranking.ordered(tester.best)
    trials = tester.trials([ranking.without(base, node) for node in nodes], passes)
    tester.best = base
    return tuple(entry_of_trial(tester, node, trial) for node, trial in zip(nodes, trials, strict=True))
