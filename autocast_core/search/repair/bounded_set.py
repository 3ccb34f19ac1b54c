"""The smallest set of FP32 nodes that meets a budget, from few passes: each measures several plans.

The prefixes of the ranking that the additive error model expects to matter are measured together, and the interval
between the longest that fails and the shortest that passes is divided further. Then, as in `minimal_set`, what the set
does not need is lowered, and every node that is left is certified. Last, smaller sets of other nodes are tried, the
most promising first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, islice

from autocast_core.search.minimal_set import Tester, certified, lowered_from, spread
from autocast_core.search.ranking import Kept, Ranking
from autocast_core.search.result import CertificateEntry

MOST_SMALLER = 64
"""Smaller sets that are tried."""
_POOL = 12
"""Nodes of which smaller sets are made: the most important ones."""


def bounded_set(tester: Tester, guess: int) -> tuple[CertificateEntry, ...]:
    """Makes `tester.best`, which meets the budget, as small as the tester's limits allow; its certificate.

    `guess` is the length of the ranking's prefix that may meet the budget. LimitReachedError where measurements are
    used up before; `tester.best` is the best set even then.
    """
    _shorten(tester, guess)
    while True:
        tester.best = lowered_from(tester, tester.ranking.least_important_first(tester.best))
        entries = certified(tester, 1)
        if not _has_smaller(tester):
            return entries


def first_prefixes(ranking: Ranking, guess: int) -> list[int]:
    """Lengths to try together first: around `guess`, one, all, and one between."""
    whole = len(ranking.steps)
    between = round(math.sqrt(2 * guess * whole))
    return sorted({min(max(length, 1), whole) for length in (1, guess // 2, guess, 2 * guess, between, whole)})


def _shorten(tester: Tester, guess: int) -> None:
    """Finds the shortest passing prefix, as far as prefixes pass monotonically."""
    ranking = tester.ranking
    fails, passes = 0, len(ranking.steps)
    lengths = first_prefixes(ranking, guess)
    while passes - fails > 1:
        trials = tester.trials([ranking.prefix(length) for length in lengths])
        passing = [length for length, trial in zip(lengths, trials, strict=True) if tester.budget.met(trial)]
        passes = min([passes, *passing])
        fails = max([fails, *(length for length in lengths if length < passes)])
        lengths = spread(fails, passes)


def _has_smaller(tester: Tester) -> bool:
    """Whether a smaller set meets the budget; `tester.best` is it then."""
    size = len(tester.best)
    found = list(islice(_smaller(tester.ranking, size), min(MOST_SMALLER, tester.measure.most)))
    if not found:
        return False
    tester.trials(found)
    return len(tester.best) < size


def _smaller(ranking: Ranking, size: int) -> Iterator[Kept]:
    """Sets of fewer than `size` nodes, those first of which the additive model expects the least error."""
    pool = sorted(ranking.everything, key=lambda node: ranking.places[node])[:_POOL]
    chosen = (nodes for number in range(max(1, size - 2), size) for nodes in combinations(pool, number))
    sets = {ranking.space.together(nodes) & ranking.everything for nodes in chosen}
    smaller = [kept for kept in sets if len(kept) < size]
    yield from sorted(smaller, key=lambda kept: (-ranking.removed(kept), len(kept), sorted(kept)))
