"""The front of accuracy against cost: plans of which none is both cheaper and more accurate than another.

Sets along the best trade-offs that the additive error model expects are measured at even distances in decibels, several
in a pass; then those between neighbours on the front that lie furthest apart, and the sets without single regions of
them. Where all sets of candidates fit into a pass, all are measured, and the front is the true one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from autocast_core.apply.placement import regions
from autocast_core.evaluate.metric_names import WORST_SQNR
from autocast_core.search.minimal_set import ALL_LOW, LimitReachedError, Tester
from autocast_core.search.ranking import Kept, Ranking
from autocast_core.search.trials import Trial

_ALL_SETS = 256
"""Sets that are all measured where there are no more."""
_A_PASS, _PASSES = 8, 3
"""Sets along the trade-offs that a pass measures, and how many passes measure those."""
_BEST_DB = 200.0
"""An SQNR above it counts as this: the output is the same."""


@dataclass(frozen=True)
class FrontPoint:
    """A plan on the front: the candidates that it keeps in FP32, what they cost, the SQNR of the worst output in dB,
    and the trial that measured it."""

    kept: Kept
    cost: float
    sqnr_db: float
    trial: Trial


def measured_front(tester: Tester) -> tuple[FrontPoint, ...]:
    """The front of what the tester measured and of what is measured for it here, the cheapest point first.

    Where its limits are reached, of what was measured until then.
    """
    ranking = tester.ranking
    try:
        if 2 ** len(ranking.space.candidates) <= min(_ALL_SETS, tester.measure.most):
            tester.trials([*_all_sets(ranking)])
        else:
            tester.trials([ALL_LOW, ranking.everything, *_along(ranking, _A_PASS - 2)])
            for _ in range(_PASSES - 1):
                tester.trials(_between(tester, front_of(ranking, tester.measure.trials)))
    except LimitReachedError:
        pass
    return front_of(ranking, tester.measure.trials)


def front_of(ranking: Ranking, trials: Iterable[Trial]) -> tuple[FrontPoint, ...]:
    """Those of `trials` that no other one beats in cost or SQNR without losing in the other, the cheapest first."""
    points = sorted(_points(ranking, trials), key=lambda each: (each.cost, -each.sqnr_db, sorted(each.kept)))
    found: list[FrontPoint] = []
    for point in points:
        if not found or point.sqnr_db > found[-1].sqnr_db:
            found.append(point)
    return tuple(found)


def _points(ranking: Ranking, trials: Iterable[Trial]) -> Iterable[FrontPoint]:
    for trial in trials:
        sqnr = trial.metrics.get(WORST_SQNR, math.nan)
        if trial.error is None and not math.isnan(sqnr):
            kept = frozenset(trial.kept)
            yield FrontPoint(kept, ranking.cost(kept)[0], min(sqnr, _BEST_DB), trial)


def _all_sets(ranking: Ranking) -> Iterable[Kept]:
    candidates = ranking.space.candidates
    sets = (combinations(candidates, size) for size in range(len(candidates) + 1))
    return dict.fromkeys(ranking.space.together(chosen) & ranking.everything for of_size in sets for chosen in of_size)


def _along(ranking: Ranking, number: int) -> list[Kept]:
    """So many prefixes of the ranking at even distances in the decibels that they are expected to gain."""
    lengths = range(1, len(ranking.steps))
    gains = {length: _decibels(ranking.steps[length - 1].remaining) for length in lengths}
    most = min(max(gains.values(), default=0.0), 60.0)
    wanted = (most * place / number for place in range(1, number + 1))
    chosen = [min(gains, key=lambda length: (abs(gains[length] - each), length)) for each in wanted if gains]
    return [ranking.prefix(length) for length in dict.fromkeys(chosen)]


def _between(tester: Tester, front: Sequence[FrontPoint]) -> list[Kept]:
    """Sets to measure between the points of `front` that lie furthest apart: prefixes of the ranking, and the dearer
    point's set without each of its regions."""
    ranking, known = tester.ranking, tester.measure.known
    prefixes = {kept: None for kept in map(ranking.prefix, range(1, len(ranking.steps))) if known(kept) is None}
    gaps = sorted(pairwise(front), key=lambda ends: ends[0].sqnr_db - ends[1].sqnr_db)
    found: dict[Kept, None] = {}
    for low, high in gaps:
        inside = [kept for kept in prefixes if low.cost < ranking.cost(kept)[0] < high.cost]
        if inside:
            found[inside[len(inside) // 2]] = None
        smaller = [high.kept - ranking.space.together(region) for region in regions(ranking.costs, high.kept)]
        smaller = [kept for kept in smaller if known(kept) is None and low.cost < ranking.cost(kept)[0] < high.cost]
        if smaller:
            found[max(smaller, key=lambda kept: (ranking.removed(kept), -ranking.cost(kept)[0], sorted(kept)))] = None
        if len(found) >= _A_PASS:
            break
    return list(found)


def _decibels(remaining: float) -> float:
    return -10.0 * math.log10(max(remaining, 1e-9))
