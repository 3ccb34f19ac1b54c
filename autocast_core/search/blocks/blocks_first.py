"""The smallest set of FP32 nodes of a model with equal blocks: one decision for all blocks first, then single nodes.

A search over patterns has as many candidates as one block, so few passes find which of them the budget needs. Of their
nodes those are lowered that one more pass shows to be needless. What is left is certified by pattern: all nodes that
are kept at one place of the blocks, lowered together, miss the budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autocast_core.apply.placement import regions
from autocast_core.evaluate.metric_names import WORST_REL_L2
from autocast_core.search.budget import Budget
from autocast_core.search.costs.cheaper_sets import cheaper_certified
from autocast_core.search.measure import Measurements
from autocast_core.search.minimal_set import (
    ALL_LOW,
    LimitReachedError,
    MeasuringLimits,
    MinimalSet,
    Tester,
    certified,
    damage,
    ended_early,
    spread,
    unreachable,
)
from autocast_core.search.ranking import Kept, Ranking
from autocast_core.search.trials import Trial

_WORTH_A_PASS = 0.95
"""A set that costs more than this part of another is not worth that its patterns are measured anew."""
_POINTS = 8
"""Sets that share a pass."""


def set_by_blocks(
    ranking: Ranking, coarse: Ranking, guess: int, measure: Measurements, budget: Budget, limits: MeasuringLimits
) -> MinimalSet:
    """As `minimal_set`, certified by pattern; `coarse` ranks patterns, of which a prefix of `guess` steps may do."""
    everything = ranking.everything
    tester = Tester(coarse, measure, budget, limits, everything)
    lengths = _first_lengths(coarse, guess)
    try:
        tester.trials([everything, ALL_LOW, *(coarse.prefix(length) for length in lengths)])
        if not budget.met(measure(everything)):
            raise unreachable(budget, measure(everything))
        if budget.met(measure(ALL_LOW)):
            return MinimalSet((), ())
        _shorten(tester, lengths)
        patterns: list[Kept] = []
        if coarse.costs.crossings:
            cheaper_certified(tester, 1)
        else:
            patterns = _without_patterns(coarse, tester.best)
        base = tester.best
        singles = _without_single_ones(ranking, base)
        tester.trials([kept for kept in dict.fromkeys([*patterns, *singles]) if kept])
        if ranking.cost(tester.best)[0] > _WORTH_A_PASS * ranking.cost(base)[0]:
            tester.best = base  # without whose patterns the plans are measured
        _lower_needless_patterns(tester)
        certificate = certified(tester, 1)
        return MinimalSet(ranking.ordered(tester.best), certificate)
    except LimitReachedError as limit:
        return ended_early(tester, limit)


def _lower_needless_patterns(tester: Tester) -> None:
    """Lowers patterns while one can be lowered alone. As many at once as the additive error model expects to pass are
    measured together with what certifies the set without them, so that a round takes a pass where it is right."""
    ranking = tester.ranking
    while True:
        base = tester.best
        order = _one_a_pattern(ranking, base)
        trials = tester.trials([ranking.without(base, node) for node in order])
        needless = [
            (trial, node)
            for trial, node in zip(trials, order, strict=True)
            if tester.budget.met(trial) and ranking.saved(base, node) > 0
        ]
        tester.best = base
        if not needless:
            return
        needless.sort(key=lambda each: damage(ranking, *each))
        lowered = [node for _, node in needless]
        expected = _expected_needless(tester, base, [trial for trial, _ in needless])
        target = base - ranking.space.together(lowered[:expected])
        ahead = [ranking.without(target, node) for node in _one_a_pattern(ranking, target)]
        sets = [base - ranking.space.together(lowered[:length]) for length in spread(0, len(lowered) + 1, _POINTS // 2)]
        tester.trials([kept for kept in dict.fromkeys([target, *sets, *ahead]) if kept])


def _expected_needless(tester: Tester, base: Kept, trials: Sequence[Trial]) -> int:
    """How many of the patterns without which `trials` were measured can go together, by the sum of squared errors; 1
    where the budget says nothing of errors."""
    limit, whole = tester.budget.rel_l2(), tester.measure.known(base)
    if limit is None or whole is None:
        return 1
    error = squared = whole.metrics.get(WORST_REL_L2, math.inf) ** 2
    for number, trial in enumerate(trials):
        error += max(trial.metrics.get(WORST_REL_L2, math.inf) ** 2 - squared, 0.0)
        if error > limit**2:
            return max(number, 1)
    return len(trials)


def _without_single_ones(ranking: Ranking, base: Kept) -> list[Kept]:
    """The set without more and more of its nodes (where Casts cost: of its connected regions), those first of which the
    least error is expected."""
    parts = [*regions(ranking.costs, base)] if ranking.costs.crossings else [frozenset({node}) for node in base]
    whole = ranking.removed(base)
    parts.sort(key=lambda part: (whole - ranking.removed(base - part), sorted(part)))
    lowered = (frozenset[str]().union(*parts[:length]) for length in spread(0, len(parts), _POINTS))
    return [base - ranking.space.together(nodes) for nodes in lowered]


def _first_lengths(ranking: Ranking, guess: int) -> list[int]:
    """Lengths of prefixes to try together first: around `guess`, and at even distances."""
    whole = len(ranking.steps)
    near = {guess - 1, guess, guess + 2, guess + 5}
    return sorted({length for length in (*near, *spread(0, whole, _POINTS // 2)) if 0 < length < whole})


def _shorten(tester: Tester, lengths: list[int]) -> None:
    """Finds the shortest passing prefix, as far as prefixes pass monotonically."""
    ranking = tester.ranking
    fails, passes = 0, len(ranking.steps)
    while passes - fails > 1 and lengths:
        trials = tester.trials([ranking.prefix(length) for length in lengths])
        passing = [length for length, trial in zip(lengths, trials, strict=True) if tester.budget.met(trial)]
        passes = min([passes, *passing])
        fails = max([fails, *(length for length in lengths if length < passes)])
        lengths = spread(fails, passes, _POINTS)
    tester.best = ranking.prefix(passes)


def _without_patterns(ranking: Ranking, base: Kept) -> list[Kept]:
    """The set without each of its patterns, and without more and more of the least important ones."""
    order = _one_a_pattern(ranking, base)
    together: list[Kept] = []
    left = base
    for node in order[: _POINTS // 2]:
        left = ranking.without(left, node)
        together.append(left)
    return [*(ranking.without(base, node) for node in order), *together]


def _one_a_pattern(ranking: Ranking, base: Kept) -> list[str]:
    """A node of each pattern in `base`, the least important first."""
    seen: set[str] = set()
    found = []
    for node in ranking.least_important_first(base):
        if node not in seen:
            found.append(node)
            seen |= ranking.space.together([node])
    return found
