"""The search for the smallest set of FP32 nodes that meets a budget.

Attribution ranks the nodes; the shortest passing prefix of that ranking is found by galloping and bisection from where
the additive error model expects it; what it does not need is lowered, as much at once as passes; and every node that is
left is certified: the final plan with that node lowered too misses the budget (1-minimality, as in delta debugging:
Zeller, Hildebrandt, Simplifying and Isolating Failure-Inducing Input, 2002). Plans that do not wait for each other's
results share passes. Decisions depend on measurements alone, so the same input gives the same plan, however many
workers measure and however often it was interrupted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autocast_core.errors import GateError
from autocast_core.search.attribution import Attribution
from autocast_core.search.budget import Budget
from autocast_core.search.measure import Kept, Measurements
from autocast_core.search.result import CertificateEntry
from autocast_core.search.search_space import SearchSpace
from autocast_core.search.sites import Site, steps
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
class Limits:
    """At most `passes` over the data, and no new one after `deadline` on `clock` (seconds)."""

    passes: int | None = None
    deadline: float | None = None
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Found:
    """The smallest passing set, most important node first, and its certificate; `stopped` says which limit ended it."""

    kept: tuple[str, ...]
    certificate: tuple[CertificateEntry, ...]
    stopped: str | None = None


def find(
    begin: SearchSpace,
    attribution: Attribution,
    measure: Measurements,
    budget: Budget,
    limits: Limits,
    costs: dict[str, float] | None = None,
) -> Found:
    """The smallest set of candidates to keep that meets `budget`; GateError where not even keeping all of them does."""
    return _Search(begin, attribution, measure, budget, limits, costs or {}).run()


@dataclass
class _Search:
    start: SearchSpace
    attribution: Attribution
    measure: Measurements
    budget: Budget
    limits: Limits
    costs: dict[str, float]

    def __post_init__(self) -> None:
        self.everything = frozenset(self.start.candidates)
        self.best = self.everything
        self.sites = self._sites()
        self.steps = steps(self.sites, self.start.candidates, self.costs)
        ranked = [node for step in self.steps for node in step.nodes]
        self.rank = {node: index for index, node in enumerate(ranked)}

    def run(self) -> Found:
        self._measured([self.everything])
        if not self._passes(self.everything):
            self._refuse()
        try:
            if self._passes(ALL_LOW):
                _LOG.info("every node may be low: the budget needs no FP32 node")
                return Found((), ())
            self._shortest_prefix()
            self._lower(sorted(self._ordered(self.best), key=lambda node: (self._loss(node), -self.rank[node])))
            certificate = self._certificate()
            return Found(self._ordered(self.best), certificate)
        except LimitReachedError as limit:
            _LOG.warning("the search ends early: %s", limit)
            return Found(self._ordered(self.best), self._known_entries(), str(limit))

    def _refuse(self) -> None:
        missed = [r for r in self.budget.results(self.measure(self.everything)) if not r.passed]
        raise GateError(
            "not even the all-FP32 model meets the budget: "
            + "; ".join(f"{r.expression} ({r.reason})" for r in missed)
            + "; relax the budget, or look at what sanitize changed"
        )

    def _sites(self) -> dict[Site, float]:
        """The sites of the attribution as sets that can be kept; without an attribution every node is one."""
        if not self.attribution.sites:
            return {self.start.together([node]): 1.0 for node in self.start.candidates}
        sites: dict[Site, float] = {}
        for site, share in self.attribution.sites.items():
            together = self.start.together(site) & self.everything
            sites[together] = sites.get(together, 0.0) + share
        return sites

    def _measured(self, wanted: Sequence[Kept], passes: int = 1) -> list[Trial]:
        """The trials of `wanted`, from so many `passes`, or more where a pass would be too large,
        as far as the limits allow; `best` becomes the smallest that meets the budget."""
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
            if self._cost(kept) < self._cost(self.best) and self.budget.met(trial):
                self.best = kept
        if len(groups) > room:
            raise LimitReachedError("all evaluations are used up (--max-trials)")
        return trials

    def _passes(self, kept: Kept) -> bool:
        return self.budget.met(self._measured([kept])[0])

    def _cost(self, kept: Kept) -> tuple[float, int]:
        return sum(sorted(self.costs.get(node, 1.0) for node in kept)), len(kept)

    def _prefix(self, length: int) -> Kept:
        return self.start.together(node for step in self.steps[:length] for node in step.nodes) & self.everything

    def _shortest_prefix(self) -> None:
        """Leaves the shortest passing prefix of the ranking in `best`, as far as prefixes pass monotonically."""
        low, high = 0, len(self.steps)  # the first fails, the last passes
        guess, stride = self._guess(), 1
        direction = 0
        while high - low > 1:
            if not low < guess < high:
                guess = (low + high) // 2
            if self._passes(self._prefix(guess)):
                high, now = guess, -1
            else:
                low, now = guess, 1
            if direction in (0, now):
                guess += now * stride
                stride *= 2
            else:
                guess = (low + high) // 2
            direction = now if direction in (0, now) else 2
        self.best = self._prefix(high)

    def _guess(self) -> int:
        """The length of the prefix that is expected to meet the budget."""
        allowed = self._allowed()
        if allowed is None:
            return 1
        return next((n for n, step in enumerate(self.steps, 1) if step.remaining <= allowed), len(self.steps) - 1)

    def _allowed(self) -> float | None:
        """The share of the fully lowered model's squared error that the budget allows; None where it says nothing."""
        limit = self.budget.rel_l2()
        if limit is None or not self.attribution.sites:
            return None
        measured = self.measure(ALL_LOW).metrics.get("fidelity.worst.rel_l2", float("inf"))
        whole = measured if measured < 1.0 else self.attribution.rel_l2
        return (limit / whole) ** 2 if whole > 0.0 else None

    def _lower(self, order: Sequence[str]) -> None:
        """Lowers as much of `best` from the start of `order` on as passes, as far as that is monotonic."""
        base = self.best
        fewest, most = 0, len(order) + 1  # lowering `fewest` passes, `most` does not
        while most - fewest > 1:
            points = _spread(fewest, most)
            sets = [base - self.start.together(order[:point]) for point in points]
            passing = [self.budget.met(trial) for trial in self._measured(sets)]
            failed = next((index for index, met in enumerate(passing) if not met), len(points))
            fewest, most = points[failed - 1] if failed else fewest, points[failed] if failed < len(points) else most
        self.best = base - self.start.together(order[:fewest])

    def _certificate(self) -> tuple[CertificateEntry, ...]:
        """One entry for each node of `best`, after lowering what turned out to be needless."""
        while True:
            base, nodes = self.best, self._ordered(self.best)
            trials = self._measured([self._without(node) for node in nodes], _ROUND)
            needless = [(trial, node) for trial, node in zip(trials, nodes, strict=True) if self.budget.met(trial)]
            self.best = base
            if not needless:
                return tuple(self._entry(node, trial) for node, trial in zip(nodes, trials, strict=True))
            self._lower([node for trial, node in sorted(needless, key=lambda each: self._damage(*each))])

    def _damage(self, trial: Trial, node: str) -> tuple[float, float, int]:
        """What lowering `node` costs: error for each unit of what keeping it costs, the least important first."""
        error = trial.metrics.get("fidelity.worst.rel_l2", 0.0)
        return error / self.costs.get(node, 1.0), error, -self.rank[node]

    def _loss(self, node: str) -> float:
        """The share of the fully lowered model's error that the additive model expects back if `node` is lowered."""
        lowered = self.start.together([node])
        return sum(share for site, share in self.sites.items() if site <= self.best and site & lowered)

    def _known_entries(self) -> tuple[CertificateEntry, ...]:
        known = ((node, self.measure.known(self._without(node))) for node in self._ordered(self.best))
        return tuple(self._entry(node, trial) for node, trial in known if trial is not None)

    def _without(self, node: str) -> Kept:
        return self.best - self.start.together([node])

    def _entry(self, node: str, trial: Trial) -> CertificateEntry:
        failing = tuple(result for result in self.budget.results(trial) if not result.passed)
        lowered = tuple(sorted(self.start.together([node])))
        return CertificateEntry(node, lowered, failing, trial.metrics, trial.error)

    def _ordered(self, kept: Kept) -> tuple[str, ...]:
        return tuple(sorted(kept, key=lambda node: self.rank[node]))


def _spread(low: int, high: int) -> list[int]:
    """At most _POINTS whole numbers between two, at even distances, the last one before `high` among them."""
    between = high - low - 1
    count = min(_POINTS, between)
    return sorted({low + -(-between * number // count) for number in range(1, count + 1)})
