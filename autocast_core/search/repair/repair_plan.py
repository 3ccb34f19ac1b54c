"""A measured decision: the rules' plan, changed as far as the simulated model shows that it must be, or need not be.

Where the model misses its target, attribution and a bounded search find the nodes to keep in FP32 as well. Where rules
about rounding alone kept nodes, those that gain nothing are released in one step.

- Does not overrule what a measurement on finite data cannot know: nodes that other rules keep stay in FP32, and what
  the user included stays low.
- Does not look for a smaller set of the nodes that rules keep, which `search` does.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir
from msgspec import structs

from autocast_core.apply import apply_plan
from autocast_core.calibrate import scan_weights
from autocast_core.decide.warnings.own_signs import with_own_signs
from autocast_core.evaluate import Recording, output_metric_names, recorded
from autocast_core.evaluate.metric_names import WORST_BATCH_SQNR
from autocast_core.operators import OperandPolicy
from autocast_core.plan import PrecisionPlan, RepairRecord
from autocast_core.progress import Progress, ProgressCallback, silent
from autocast_core.search.attribution import Attribution, attribute
from autocast_core.search.budget import Budget
from autocast_core.search.measure import Measurements
from autocast_core.search.minimal_set import ALL_LOW, LimitReachedError, MeasuringLimits, Tester, known_entries, spread
from autocast_core.search.ranking import Kept, Ranking, ranked
from autocast_core.search.repair.bounded_set import bounded_set, first_prefixes
from autocast_core.search.repair.repair_reasons import with_kept, with_released
from autocast_core.search.repair.target import Target, nearest_reachable, nothing_lost
from autocast_core.search.request import SearchSubject
from autocast_core.search.result import CertificateEntry
from autocast_core.search.search_space import SearchSpace, release_space, repair_space
from autocast_core.search.trials import MemoryTrials, Trial

_LOG = logging.getLogger(__name__)


def repair_plan(
    subject: SearchSubject, plan: PrecisionPlan, target: Target, most: int, progress: ProgressCallback = silent
) -> PrecisionPlan:
    """`plan` with the nodes kept in FP32 that the subject's model needs to reach `target`, and without those that rules
    about rounding alone keep for nothing; ``data.repair`` says what was done. As it is, and without a pass, where there
    is nothing to do.

    Measured is the simulated model against the subject's source, on its batches, in at most `most` passes (several
    plans share one) beside the reference's and the attribution's. A target that no plan reaches leads to the smallest
    plan that comes as close as any; FP32 throughout is none.
    """
    if not target.missed and not _saves_casts(subject.model, plan):
        return plan
    with recorded(subject.source, subject.batches, subject.runtime, subject.config.class_outputs) as recording:
        passes = _Passes(subject, recording, most, progress)
        step = _Step(plan, target, target.judged)
        if target.missed:
            step = _more_kept(passes, step)
        if step.met and (not target.missed or _saves_casts(subject.model, step.plan)):
            step = _released(passes, step)
    record = step.record(passes.done, subject.batches.digest)
    made = structs.replace(step.plan, data=structs.replace(plan.data, repair=record))
    if record.kept or record.released:
        weights = scan_weights(subject.model, plan.precision, progress)
        made = with_own_signs(subject.model, made, plan, weights)
    return made if record.met else structs.replace(made, warnings=(record.summary(), *made.warnings))


@dataclass(frozen=True)
class _Step:
    """What a step made: the plan, and whether it meets the target on the data, whose gates there are `asked`.

    `before` are the metrics of the rules' plan and `after` those of this one, empty where they were not measured.
    """

    plan: PrecisionPlan
    target: Target
    before: Mapping[str, float]
    after: Mapping[str, float] | None = None
    asked: Budget | None = None
    met: bool = True
    kept: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    stopped: str | None = None

    def record(self, evaluations: int, digest: str) -> RepairRecord:
        """What the plan says of it."""
        gates = self.target.gates if self.asked is None else self.asked.gates
        after = self.before if self.after is None else self.after
        return RepairRecord(
            target=tuple(gate.expression for gate in gates),
            met=self.met,
            evaluations=evaluations,
            digest=digest,
            sqnr_db_before=self.before.get(WORST_BATCH_SQNR),
            sqnr_db_after=after.get(WORST_BATCH_SQNR),
            kept=self.kept,
            released=self.released,
            stopped=self.stopped,
        )


@dataclass
class _Passes:
    """How plans are measured, and the passes over the data that this took, `done` of `most`."""

    subject: SearchSubject
    recording: Recording
    most: int
    progress: ProgressCallback
    done: int = 0

    def measurements(self, space: SearchSpace) -> Measurements:
        """What measures the plans of `space`, each once."""
        subject, before = self.subject, self.done

        def heard(_: Trial) -> None:
            self.done = before + measure.passes
            self.progress(Progress("repair", self.done, self.most, "evaluations"))

        measure = Measurements(
            subject.model,
            space,
            self.recording,
            subject.batches,
            subject.runtime,
            context="",
            store=MemoryTrials(),
            listener=heard,
        )
        return measure

    def together(self, measure: Measurements, wanted: Iterable[Kept]) -> None:
        """Measures the plans, as many as fit in a pass at once, as far as passes are left."""
        sets = list(dict.fromkeys(wanted))
        groups = [sets[start : start + measure.most] for start in range(0, len(sets), measure.most)]
        measure.run(groups[: self.most - self.done])

    def limits(self, measure: Measurements) -> MeasuringLimits:
        """How many passes `measure` may make in all."""
        return MeasuringLimits(self.most - (self.done - measure.passes))

    def attribution(self, plan: PrecisionPlan) -> Attribution:
        """Where the error of the plan's model enters."""
        subject = self.subject
        low = {each.id: each.precision for each in plan.nodes if each.precision.is_low}
        policy = OperandPolicy.of_plan(subject.model, plan)
        try:
            return attribute(
                subject.model, low, plan.precision, policy, subject.batches, subject.runtime, self.progress
            )
        except Exception as error:
            # Without a ranking more is measured, and the result is still a plan that was measured.
            _LOG.warning("errors are not attributed to nodes: %s", error)
            return Attribution(skipped=f"{type(error).__name__}: {error}")


def _more_kept(passes: _Passes, step: _Step) -> _Step:
    """The step with the nodes in FP32 that the target needs."""
    space = repair_space(passes.subject.model, step.plan)
    if not space.candidates:
        return replace(step, met=False, stopped="no node may be kept in FP32 that is not")
    attribution = passes.attribution(step.plan)
    ranking, measure = ranked(space, attribution), passes.measurements(space)
    guess = _expected_length(ranking, attribution, Budget(step.target.gates).rel_l2())
    prefixes = [ranking.prefix(length) for length in first_prefixes(ranking, guess)]
    passes.together(measure, [ALL_LOW, ranking.everything, *prefixes])
    low, full = measure.known(ALL_LOW), measure.known(ranking.everything)
    if low is None or full is None or low.error is not None:
        why = low.error if low is not None and low.error is not None else _used_up(passes)
        return replace(step, met=False, stopped=why)
    asked = Budget(step.target.on(low.metrics), output_metric_names(passes.recording.output_names))
    step = replace(step, before=low.metrics, asked=asked, met=False)
    if asked.met(low):
        return replace(step, stopped="the data that it may be repaired on does not show what is missed")
    budget = nearest_reachable(asked, low, full)
    if budget is None:
        return replace(step, stopped="no plan comes closer")
    tester = Tester(ranking, measure, budget, passes.limits(measure), ranking.everything)
    entries, stopped = _smallest(tester, guess, passes)
    best = tester.best
    if not space.plan(best).counts().low_precision:
        best, entries, stopped = _nearest(space, measure), (), "only FP32 throughout meets the target"
    found = measure(best)
    kept = ranking.ordered(best)
    missed = "; ".join(f"{each.expression} ({each.reason})" for each in asked.results(low) if not each.passed)
    changes = (low.metrics, found.metrics)
    plan = with_kept(step.plan, space.together(kept), missed, changes, attribution, entries)
    return replace(step, plan=plan, after=found.metrics, met=asked.met(found), kept=kept, stopped=stopped)


def _smallest(tester: Tester, guess: int, passes: _Passes) -> tuple[tuple[CertificateEntry, ...], str | None]:
    """Makes the tester's best set small; its certificate as far as it was measured, and what ended that early."""
    try:
        return bounded_set(tester, guess), None
    except LimitReachedError:
        return known_entries(tester), _used_up(passes)


def _nearest(space: SearchSpace, measure: Measurements) -> Kept:
    """The set that comes closest to the original, of those measured that leave a node low."""
    ratios = {frozenset(trial.kept): trial.metrics.get(WORST_BATCH_SQNR, -math.inf) for trial in measure.trials}
    low = (kept for kept in ratios if space.plan(kept).counts().low_precision)
    return max(low, key=lambda kept: (ratios[kept], -len(kept), sorted(kept)), default=ALL_LOW)


def _used_up(passes: _Passes) -> str:
    return f"all evaluations are used up (repair_evaluations: {passes.most})"


def _expected_length(ranking: Ranking, attribution: Attribution, limit: float | None) -> int:
    """The length of the ranking's prefix that the additive error model expects to reach the relative L2 `limit`."""
    if limit is None or not attribution.sites or not 0.0 < attribution.rel_l2 < math.inf:
        return 1
    allowed = (limit / attribution.rel_l2) ** 2
    return next((number for number, each in enumerate(ranking.steps, 1) if each.remaining <= allowed), 1)


def _released(passes: _Passes, step: _Step) -> _Step:
    """The step without those nodes in FP32 that a release may lower and that gain nothing: all of them together, or,
    where they gain something, the longest tried beginning of them in the order of what they gain."""
    space = release_space(passes.subject.model, step.plan)
    measure, everything = passes.measurements(space), frozenset(space.candidates)
    passes.together(measure, [everything, ALL_LOW])
    full, low = measure.known(everything), measure.known(ALL_LOW)
    if full is None or low is None or full.error is not None:
        return step
    names = output_metric_names(passes.recording.output_names)
    gates = step.target.on(full.metrics) if step.asked is None else step.asked.gates
    budget = Budget((*gates, *nothing_lost(names, full.metrics)), names)
    chosen = ALL_LOW if budget.met(low) else _fewest(passes, space, measure, budget)
    if chosen == everything:
        return step
    found = measure(chosen)
    released = tuple(node for node in space.candidates if node not in chosen)
    plan = with_released(step.plan, space.together(released), (full.metrics, found.metrics))
    before = step.before if step.kept else full.metrics
    return replace(step, plan=plan, before=before, after=found.metrics, released=released)


def _fewest(passes: _Passes, space: SearchSpace, measure: Measurements, budget: Budget) -> Kept:
    """The smallest set to keep that meets `budget`, of those that one more pass measures."""
    ranking = ranked(space, passes.attribution(space.lowest))
    order = ranking.least_important_first(ranking.everything)
    lengths = spread(0, len(order))
    sets = [ranking.everything - space.together(order[:length]) for length in lengths]
    passes.together(measure, sets)
    trials = [trial for kept in sets if (trial := measure.known(kept)) is not None]
    passing = [frozenset(trial.kept) for trial in trials if budget.met(trial)]
    return min(passing, key=len, default=ranking.everything)


def _saves_casts(model: ir.Model, plan: PrecisionPlan) -> bool:
    """Whether the model has fewer Casts without what a release may lower: a node among others in FP32 costs none."""
    space = release_space(model, plan)
    if not space.candidates:
        return False
    return apply_plan(model, space.lowest).casts_inserted < apply_plan(model, plan).casts_inserted
