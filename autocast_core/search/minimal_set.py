"""The smallest set of FP32 nodes that meets a budget.

Attribution ranks the nodes; the shortest passing prefix of that ranking is found by galloping and bisection from where
the additive error model expects it; what it does not need is lowered, as much at once as passes; and every node that is
left is certified: the final plan with that node lowered too misses the budget (1-minimality, as in delta debugging:
Zeller, Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002). Plans that do not wait for each other's
results share passes. Decisions depend on measurements alone, so the same input gives the same plan, however many
workers measure and however often it was interrupted.
"""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autocast_core.errors import GateError
from autocast_core.evaluate.metric_names import WORST_REL_L2, WORST_SQNR
from autocast_core.search.attribution import Attribution
from autocast_core.search.budget import Budget
from autocast_core.search.measure import Measurements
from autocast_core.search.ranking import Kept, Ranking
from autocast_core.search.result import CertificateEntry
from autocast_core.search.trials import Trial

_LOG = logging.getLogger(__name__)
_ROUND = 3
"""Passes in which a certificate's plans are measured; side by side where there are several workers."""
_POINTS = 6
"""Sets that are tried in one pass where the largest that passes is looked for."""

ALL_LOW: Kept = frozenset()


class LimitReachedError(Exception):
    """The search may not measure any further; caught where its best plan is returned."""


@dataclass(frozen=True)
class MeasuringLimits:
    """At most `passes` over the data, and no new one after `deadline` on `clock` (seconds)."""

    passes: int | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class MinimalSet:
    """The smallest passing set, most important node first, and its certificate; `stopped` says which limit ended the
    search for a smaller one."""

    kept: tuple[str, ...]
    certificate: tuple[CertificateEntry, ...]
    stopped: str | None = None


@dataclass
class Tester:
    """Measures sets within the limits; `best` is the cheapest seen so far that meets the budget."""

    ranking: Ranking
    measure: Measurements
    budget: Budget
    limits: MeasuringLimits
    best: Kept

    def trials(self, wanted: Sequence[Kept], passes: int = 1) -> list[Trial]:
        """The trials of `wanted`, from so many `passes`, or more where a pass would be too large, as far as the limits
        allow: LimitReachedError where they do not allow all."""
        new = [kept for kept in dict.fromkeys(wanted) if self.measure.known(kept) is None]
        size = min(-(-len(new) // passes) or 1, self.measure.most)
        groups = [new[start : start + size] for start in range(0, len(new), size)]
        room = len(groups) if self.limits.passes is None else self.limits.passes - self.measure.passes
        if groups and self.limits.deadline is not None and self.limits.clock() >= self.limits.deadline:
            raise LimitReachedError("the time is up (--minutes)")
        self.measure.run(groups[: max(room, 0)])
        trials = [trial for kept in wanted if (trial := self.measure.known(kept)) is not None]
        for trial in trials:
            kept = frozenset(trial.kept)
            if self.budget.met(trial) and self.ranking.cost(kept) < self.ranking.cost(self.best):
                self.best = kept
        if len(groups) > room:
            raise LimitReachedError("all evaluations are used up (--max-trials)")
        return trials

    def passes(self, kept: Kept) -> bool:
        """Whether the plan that keeps `kept` meets the budget."""
        return self.budget.met(self.trials([kept])[0])


Shrink = Callable[[Tester], tuple[CertificateEntry, ...]]
"""Makes a tester's best set smaller; the certificate of what is left."""


def minimal_set(
    ranking: Ranking,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    limits: MeasuringLimits,
    shrink: Shrink,
) -> MinimalSet:
    """The smallest set of candidates to keep that meets `budget`; GateError where not even keeping all of them does.

    Within `limits`; the set of all candidates is measured whatever they say. `shrink` makes the first passing prefix of
    the ranking smaller and certifies what is left.
    """
    everything = ranking.everything
    tester = Tester(ranking, measure, budget, limits, everything)
    if not budget.met(measure(everything)):
        raise unreachable(budget, measure(everything))
    try:
        if tester.passes(ALL_LOW):
            _LOG.info("every node may be low: the budget needs no FP32 node")
            return MinimalSet((), ())
        allowed = allowed_share(budget, attribution, measure(ALL_LOW))
        tester.best = _shortest_prefix(tester, expected_length(ranking, attribution, allowed))
        certificate = shrink(tester)
        return MinimalSet(ranking.ordered(tester.best), certificate)
    except LimitReachedError as limit:
        return ended_early(tester, limit)


def ended_early(tester: Tester, limit: LimitReachedError) -> MinimalSet:
    """The tester's best set, with its certificate as far as it was measured."""
    _LOG.warning("the search ends early: %s", limit)
    return MinimalSet(tester.ranking.ordered(tester.best), known_entries(tester), str(limit))


def smaller_certified(tester: Tester) -> tuple[CertificateEntry, ...]:
    """Lowers as much of `tester.best` as passes, the least important nodes first; one entry for each node left."""
    tester.best = lowered_from(tester, tester.ranking.least_important_first(tester.best))
    return certified(tester)


def smaller_set(
    ranking: Ranking, measure: Measurements, budget: Budget, limits: MeasuringLimits, start: Kept, shrink: Shrink
) -> MinimalSet | None:
    """The smallest set within `start` that meets `budget`, as `minimal_set`.

    None where `start` itself does not meet it, or may not be measured within `limits`.
    """
    tester = Tester(ranking, measure, budget, limits, start)
    try:
        if not tester.passes(start):
            return None
    except LimitReachedError:
        return None
    try:
        certificate = shrink(tester)
        return MinimalSet(ranking.ordered(tester.best), certificate)
    except LimitReachedError as limit:
        return ended_early(tester, limit)


def unreachable(budget: Budget, trial: Trial) -> GateError:
    """The error of a budget that the all-FP32 model misses, whose trial this is."""
    missed = "; ".join(f"{r.expression} ({r.reason})" for r in budget.results(trial) if not r.passed)
    return GateError(
        f"not even the all-FP32 model meets the budget: {missed}; relax the budget, or look at what sanitize changed"
    )


def _shortest_prefix(tester: Tester, guess: int) -> Kept:
    """The shortest passing prefix of the ranking, as far as prefixes pass monotonically; looked for from `guess` on."""
    ranking = tester.ranking
    low, high = 0, len(ranking.steps)  # the first fails, the last passes
    stride, direction = 1, 0
    while high - low > 1:
        if not low < guess < high:
            guess = (low + high) // 2
        if tester.passes(ranking.prefix(guess)):
            high, now = guess, -1
        else:
            low, now = guess, 1
        if direction in (0, now):
            guess += now * stride
            stride *= 2
        else:
            guess = (low + high) // 2
        direction = now if direction in (0, now) else 2
    return ranking.prefix(high)


def expected_length(ranking: Ranking, attribution: Attribution, allowed: float | None) -> int:
    """The length of the ranking's prefix that the additive error model expects to meet the budget, which allows that
    share of the fully lowered model's squared error; 1 where it says nothing."""
    if allowed is None:
        return 1
    return next((n for n, step in enumerate(ranking.steps, 1) if step.remaining <= allowed), len(ranking.steps) - 1)


def most_expected(tester: Tester, ranking: Ranking, sets: Sequence[Kept]) -> int | None:
    """The place of the last of `sets`, which become smaller, that is expected to pass: between what the first one and
    everything low have measured, squared errors are shared out as the additive error model of `ranking` does. None
    where the budget says nothing of errors."""
    limit, first, lowest = tester.budget.rel_l2(), tester.measure.known(sets[0]), tester.measure.known(ALL_LOW)
    if limit is None or first is None or lowest is None:
        return None
    before, most = (trial.metrics.get(WORST_REL_L2, math.inf) ** 2 for trial in (first, lowest))
    whole = ranking.removed(sets[0])
    left = whole * (most - limit**2) / (most - before) if most > before else whole
    return bisect_right(sets, -left, key=lambda kept: -ranking.removed(kept)) - 1


def allowed_share(budget: Budget, attribution: Attribution, lowest: Trial | None) -> float | None:
    """The share of the fully lowered model's squared error that the budget allows, by its trial if it was measured,
    else by the attribution; None where the budget says nothing."""
    limit = budget.rel_l2()
    if limit is None or not attribution.sites:
        return None
    measured = math.inf if lowest is None else lowest.metrics.get(WORST_REL_L2, math.inf)
    whole = measured if measured < 1.0 else attribution.rel_l2
    return (limit / whole) ** 2 if whole > 0.0 else None


def lowered_from(tester: Tester, order: Sequence[str]) -> Kept:
    """The best set without as much from the start of `order` as passes, as far as that is monotonic."""
    base, together = tester.best, tester.ranking.space.together
    fewest, most = 0, len(order) + 1  # lowering `fewest` passes, `most` does not
    while most - fewest > 1:
        points = spread(fewest, most)
        sets = [base - together(order[:point]) for point in points]
        passing = [tester.budget.met(trial) for trial in tester.trials(sets)]
        failed = next((index for index, met in enumerate(passing) if not met), len(points))
        fewest, most = points[failed - 1] if failed else fewest, points[failed] if failed < len(points) else most
    return base - together(order[:fewest])


def certified(tester: Tester, passes: int = _ROUND) -> tuple[CertificateEntry, ...]:
    """One entry for each node of the best set, after lowering what turns out to be needless; in so many `passes` each
    time, or more where a pass would be too large."""
    ranking = tester.ranking
    while True:
        base, nodes = tester.best, ranking.ordered(tester.best)
        trials = tester.trials([ranking.without(base, node) for node in nodes], passes)
        needless = [
            (trial, node)
            for trial, node in zip(trials, nodes, strict=True)
            if tester.budget.met(trial) and ranking.saved(base, node) > 0
        ]
        tester.best = base
        if not needless:
            return tuple(entry_of_trial(tester, node, trial) for node, trial in zip(nodes, trials, strict=True))
        needless.sort(key=lambda each: damage(ranking, *each))
        # One node of those that go together: the least important.
        order = {trial.kept: node for trial, node in needless}
        tester.best = lowered_from(tester, list(order.values()))


def damage(ranking: Ranking, trial: Trial, node: str) -> tuple[float, float, int]:
    """What lowering `node` costs: error for each unit of what keeping it costs, the least important first."""
    error = trial.metrics.get(WORST_REL_L2, 0.0)
    return error / max(ranking.costs.own.get(node, 1.0), 1.0), error, -ranking.places[node]


def known_entries(tester: Tester) -> tuple[CertificateEntry, ...]:
    """The certificate as far as it was measured."""
    ranking, best = tester.ranking, tester.best
    known = ((node, tester.measure.known(ranking.without(best, node))) for node in ranking.ordered(best))
    return tuple(entry_of_trial(tester, node, trial) for node, trial in known if trial is not None)


def entry_of_trial(tester: Tester, node: str, trial: Trial) -> CertificateEntry:
    """The entry of a node of the best set; `trial` is that set's without it."""
    failing = tuple(result for result in tester.budget.results(trial) if not result.passed)
    ranking, best = tester.ranking, tester.best
    lowered = tuple(sorted(ranking.space.together([node]) & best))
    return CertificateEntry(
        node,
        lowered,
        failing,
        trial.metrics,
        trial.error,
        costs=ranking.saved(best, node),
        unit=ranking.unit,
        buys_db=_gained(tester.measure.known(best), trial),
    )


def _gained(whole: Trial | None, without: Trial) -> float | None:
    """The SQNR of the worst output that `whole` has more, in dB; None where either is not a number."""
    if whole is None:
        return None
    gained = whole.metrics.get(WORST_SQNR, math.nan) - without.metrics.get(WORST_SQNR, math.nan)
    return gained if math.isfinite(gained) else None


def spread(low: int, high: int, points: int = _POINTS) -> list[int]:
    """At most `points` whole numbers between two, at even distances, the last one before `high` among them."""
    between = high - low - 1
    count = max(0, min(points, between))
    return sorted({low + -(-between * number // count) for number in range(1, count + 1)})
