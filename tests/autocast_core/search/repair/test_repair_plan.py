"""A repair ends within its evaluations, and with the smallest set of FP32 nodes, as brute force finds it."""

from itertools import combinations

import numpy as np
import pytest

from autocast_core.calibrate import Statistics
from autocast_core.config import ConversionConfig, Precision
from autocast_core.evaluate import AskedGates, output_metric_names, recorded
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.pipeline.stages.plans.decide import DECIDE
from autocast_core.pipeline.stages.sanitize import SANITIZE
from autocast_core.plan import PrecisionPlan
from autocast_core.search.budget import Budget
from autocast_core.search.measure import Measurements
from autocast_core.search.repair.repair_plan import repair_plan
from autocast_core.search.repair.target import target_of
from autocast_core.search.request import SearchSubject
from autocast_core.search.search_space import repair_space
from autocast_core.search.trials import MemoryTrials
from tests.autocast_core.search.planted import SENSITIVE, names
from tests.autocast_core.search.small_graphs import small_graph

RATIO = "fidelity/worst_batch/sqnr_db"


def subject_of(proto, data):
    """The model without rules that look at numbers, and its plan, in which every node is low."""
    config = ConversionConfig(data_max=float("inf"), small_values=False, batch_size=8, decide="measured")
    job = Job(proto, config, data)
    made = run_stages((LOAD, SANITIZE), in_this_process(job)).having(Statistics, Statistics())
    plan = run_stages((DECIDE,), in_this_process(job), made)[PrecisionPlan]
    original = job.original()
    model = made[SanitizedSource].model
    return SearchSubject(model, job.batches(original, data), job.runtime, config, original), plan


class BruteForce:
    """Every set of nodes that a repair may keep, measured."""

    def __init__(self, subject, plan):
        space = repair_space(subject.model, plan)
        self.sets = [
            frozenset(kept) for number in range(len(space.candidates) + 1)
            for kept in combinations(space.candidates, number)
        ]  # fmt: skip
        with recorded(subject.source, subject.batches, subject.runtime) as recording:
            self.names = output_metric_names(recording.output_names)
            measure = Measurements(
                subject.model, space, recording, subject.batches, subject.runtime, context="", store=MemoryTrials()
            )
            measure.run([self.sets[start : start + 64] for start in range(0, len(self.sets), 64)])
            self.trials = [measure(kept) for kept in self.sets]

    @property
    def metrics(self):
        """Those of the plan that keeps nothing."""
        return self.trials[0].metrics

    def smallest(self, target):
        """How many nodes the smallest set has that meets `target`, None where none does."""
        budget = Budget(target.gates, self.names)
        return min((len(trial.kept) for trial in self.trials if budget.met(trial)), default=None)


@pytest.mark.parametrize("seed", range(5))
def test_a_repair_keeps_as_few_nodes_as_the_smallest_set(seed):
    subject, plan = subject_of(*small_graph(seed))
    everything = BruteForce(subject, plan)
    for gain in (5, 25):
        gates = (f"worst_batch.sqnr_db>={everything.metrics[RATIO] + gain:.2f}", "no_new_nonfinite")
        target = target_of(AskedGates(gates), Precision.FP16, everything.metrics, everything.names)
        found = repair_plan(subject, plan, target, 12).data.repair
        smallest = everything.smallest(target)
        assert found.met == (smallest is not None)
        assert found.evaluations <= 12 and found.stopped in (None, "no plan comes closer")
        if found.met:
            assert len(found.kept) == smallest


def planted_target(subject, *gates):
    """The target of these gates for a model that no gate was measured on, so that all count as missed."""
    with recorded(subject.source, subject.batches, subject.runtime) as recording:
        outputs = output_metric_names(recording.output_names)
    judged = dict.fromkeys(("fidelity/sqnr_db", RATIO), 0.0)
    return target_of(AskedGates(gates), Precision.FP16, judged, outputs)


@pytest.fixture(scope="module")
def ill(planted):
    return subject_of(*planted)


@pytest.mark.parametrize("most", [1, 2, 3, 12])
def test_a_repair_ends_within_its_evaluations_with_a_plan_that_meets_the_target(ill, most):
    subject, plan = ill
    found = repair_plan(subject, plan, planted_target(subject, "worst_batch.sqnr_db>=45"), most)
    record = found.data.repair
    assert record.evaluations <= most and record.met and record.sqnr_db_after >= 45
    assert record.stopped == (None if most == 12 else f"all evaluations are used up (repair_evaluations: {most})")
    if most == 12:
        assert names(record.kept) <= SENSITIVE
        assert {each.id for each in found.nodes if each.rule == "repair"} == set(record.kept)


def test_progress_counts_evaluations(ill):
    heard = []
    subject, plan = ill
    record = repair_plan(
        subject, plan, planted_target(subject, "worst_batch.sqnr_db>=45"), 12, heard.append
    ).data.repair
    counted = [at.done for at in heard if at.stage == "repair"]
    assert counted == sorted(counted) and counted[-1] == record.evaluations
    assert {(at.total, at.unit) for at in heard if at.stage == "repair"} == {(12, "evaluations")}


def test_the_same_input_gives_the_same_plan(ill):
    subject, plan = ill
    target = planted_target(subject, "worst_batch.sqnr_db>=45")
    assert repair_plan(subject, plan, target, 12).to_json() == repair_plan(subject, plan, target, 12).to_json()


def test_a_model_that_no_plan_saves_gets_what_comes_closest(ill):
    subject, plan = ill
    record = repair_plan(subject, plan, planted_target(subject, "worst_batch.sqnr_db>=201"), 12).data.repair
    assert not record.met and record.kept and np.isfinite(record.sqnr_db_after)


def test_without_an_attribution_a_repair_still_meets_the_target(ill, monkeypatch):
    def broken(*given):
        raise ValueError("too many outputs")

    subject, plan = ill
    monkeypatch.setattr("autocast_core.search.repair.repair_plan.attribute", broken)
    record = repair_plan(subject, plan, planted_target(subject, "worst_batch.sqnr_db>=45"), 12).data.repair
    assert record.met and record.evaluations <= 12
