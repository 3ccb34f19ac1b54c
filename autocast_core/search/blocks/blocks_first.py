"""The smallest set of FP32 nodes of a model with equal blocks, from few passes: nodes of one place decided together.

Every plan takes an inference of the model, so those are measured that the additive error model expects near the
budget. A short passing prefix of the ranking of nodes is found first. Where Casts cost, so is one of the ranking of
patterns, which has as many candidates as one block; the cheaper of the two is made cheaper still, and of its regions
those are lowered that one or two more passes show to be needless. Then patterns are lowered. What is left is certified
by pattern: all nodes that are kept at one place of the blocks, lowered together, miss the budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autocast_core.apply.placement import PrecisionCosts, cheapest, regions
from autocast_core.evaluate.metric_names import WORST_REL_L2
from autocast_core.search.attribution import Attribution
from autocast_core.search.budget import Budget
from autocast_core.search.costs.cheaper_sets import cheaper_certified
from autocast_core.search.measure import Measurements
from autocast_core.search.minimal_set import (
    ALL_LOW,
    LimitReachedError,
    MeasuringLimits,
    MinimalSet,
    Tester,
    allowed_share,
    certified,
    damage,
    ended_early,
    expected_length,
    most_expected,
    spread,
    unreachable,
)
from autocast_core.search.ranking import Kept, Ranking, ranked
from autocast_core.search.trials import Trial

_WORTH_A_PASS = 0.95
"""A set that costs more than this part of another is not worth that its patterns are measured anew."""
_POINTS = 8
"""Sets that share a pass."""
_ROUNDS = 2
"""Passes in which regions are lowered."""


def set_by_blocks(
    ranking: Ranking,
    coarse: Ranking,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    limits: MeasuringLimits,
) -> MinimalSet:
    """As `minimal_set`, certified by pattern; `coarse` ranks patterns."""
    everything = ranking.everything
    tester = Tester(coarse, measure, budget, limits, everything)
    allowed = allowed_share(budget, attribution, None)
    rows = _rows(ranking, coarse, attribution)
    lengths = [row.around(expected_length(row.ranking, attribution, allowed)) for row in rows]
    try:
        tester.trials([everything, ALL_LOW, *_sets(rows, lengths)])
        if not budget.met(measure(everything)):
            raise unreachable(budget, measure(everything))
        if budget.met(measure(ALL_LOW)):
            return MinimalSet((), ())
        _shorten(tester, rows, lengths)
        if coarse.costs.crossings:
            cheaper_certified(tester, 1)
            base = tester.best
            _lower_regions(tester, ranking)
            if _beside_none(ranking, tester.best) > _WORTH_A_PASS * _beside_none(ranking, base):
                tester.best = base  # without whose patterns the plans are measured
        lower_needless_patterns(tester)
        certificate = certified(tester, 1)
        return MinimalSet(ranking.ordered(tester.best), certificate)
    except LimitReachedError as limit:
        return ended_early(tester, limit)


def _beside_none(ranking: Ranking, kept: Kept) -> float:
    """What keeping these nodes costs more than keeping none; a whole engine's time would hide it."""
    return ranking.cost(kept)[0] - ranking.cost(ALL_LOW)[0]


def lower_needless_patterns(tester: Tester) -> None:
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
        # One alone passes, so that each round ends with a smaller set.
        lengths = [1, *spread(0, len(lowered) + 1, _POINTS // 2)]
        sets = [base - ranking.space.together(lowered[:length]) for length in lengths]
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


def _lower_regions(tester: Tester, ranking: Ranking) -> None:
    """Lowers connected regions of the best set, those first of which the least error is expected: as many as pass,
    sought from where the additive error model expects the most that do."""
    base = tester.best
    whole = ranking.removed(base)
    parts = sorted(regions(ranking.costs, base), key=lambda part: (whole - ranking.removed(base - part), sorted(part)))
    sets = [base - ranking.space.together(frozenset[str]().union(*parts[:length])) for length in range(len(parts) + 1)]
    passes, fails = 0, len(parts)
    guess = most_expected(tester, ranking, sets)
    near = spread(passes, fails, _POINTS) if guess is None else _around(guess)
    lengths = [length for length in near if passes < length < fails]
    for _ in range(_ROUNDS):
        passing = [tester.budget.met(trial) for trial in tester.trials([sets[length] for length in lengths])]
        passes = max((length for length, met in zip(lengths, passing, strict=True) if met), default=passes)
        fails = min((length for length in lengths if length > passes), default=fails)
        lengths = spread(passes, fails, _POINTS // 2)


def _around(guess: int) -> list[int]:
    """Numbers near `guess`, the further apart the larger it is."""
    step = max(1, guess // 8)
    return [guess + step * place for place in range(-2, 2)]


@dataclass(frozen=True)
class _Row:
    """The prefixes of a ranking, each with what is then cheaper in FP32 by `costs`."""

    ranking: Ranking
    costs: PrecisionCosts

    def kept(self, length: int) -> Kept:
        kept, space = self.ranking.prefix(length), self.ranking.space
        if not self.costs.crossings:
            return kept
        return cheapest(self.costs, space.candidates, required=kept, groups=set(space.groups.values()))

    def around(self, guess: int) -> list[int]:
        return [length for length in _around(guess) if 0 < length < len(self.ranking.steps)]


def _rows(ranking: Ranking, coarse: Ranking, attribution: Attribution) -> list[_Row]:
    """The rankings whose prefixes are tried: that of nodes, and where Casts cost that of patterns, too. Where costs
    only guide what a price decides, that of patterns alone: for BERT-base by time the other took more plans and led to
    nothing cheaper."""
    if not coarse.costs.crossings:
        return [_Row(ranking, ranking.costs)]
    patterns = _Row(coarse, coarse.costs)
    if coarse.price is not None:
        return [patterns]
    return [patterns, _Row(ranked(ranking.space, attribution), ranking.costs)]


def _sets(rows: Sequence[_Row], lengths: Sequence[Sequence[int]]) -> list[Kept]:
    return [row.kept(length) for row, tried in zip(rows, lengths, strict=True) for length in tried]


def _shorten(tester: Tester, rows: Sequence[_Row], lengths: Sequence[list[int]]) -> None:
    """Finds a short passing prefix of each row, to an eighth of its length, as far as prefixes pass monotonically; all
    rows share each pass."""
    ends = [(0, len(row.ranking.steps)) for row in rows]
    while any(lengths):
        tester.trials(_sets(rows, lengths))
        ends = [_ends(tester, row, tried, *end) for row, tried, end in zip(rows, lengths, ends, strict=True)]
        lengths = [
            spread(fails, passes, _POINTS) if passes - fails > max(1, passes // 8) else [] for fails, passes in ends
        ]


def _ends(tester: Tester, row: _Row, lengths: Sequence[int], fails: int, passes: int) -> tuple[int, int]:
    """The longest prefix known to fail and the shortest one known to pass."""
    met = {length: tester.budget.met(tester.measure(row.kept(length))) for length in lengths}
    passes = min([passes, *(length for length in lengths if met[length])])
    return max([fails, *(length for length in lengths if length < passes)]), passes


def _one_a_pattern(ranking: Ranking, base: Kept) -> list[str]:
    """A node of each pattern in `base`, the least important first."""
    seen: set[str] = set()
    found = []
    for node in ranking.least_important_first(base):
        if node not in seen:
            found.append(node)
            seen |= ranking.space.together([node])
    return found
