"""Against AutoCast's thresholds: on the demo, and on BERT- and ResNet-like models."""

import numpy as np
import pytest

from autocast_core.apply import apply_plan
from autocast_core.config import ConversionConfig, Precision
from autocast_core.data import input_specs, open_batches, table_sizes
from autocast_core.decide.rule import Override
from autocast_core.decide.rules import entry_of
from autocast_core.evaluate import evaluate
from autocast_core.model import load_model
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan
from autocast_core.search import SearchRequest, SearchSubject, search
from autocast_core.simulate import simulate
from flows.demo import materials
from tests.models import build

CONFIG = ConversionConfig()


def _may_be_lowered(node):
    """Whether a search may lower a node that the rules keep in FP32."""
    return node.precision is Precision.FP32 and entry_of(node.rule).may_be_overridden_by(Override.SEARCH)


def thresholds_and_search(path, calibration, evaluation, batch_size, budget):
    """The thresholds' plan with its evaluation, and the search on the same data with the budget made from that."""
    job = Job(path, CONFIG, calibration)
    made = run_stages((LOAD, *planning_stages(CONFIG)), in_this_process(job))
    source, runtime, sanitized, plan = load_model(path), job.runtime, made[SanitizedSource], made[PrecisionPlan]
    batches = open_batches(evaluation, input_specs(source), batch_size=batch_size, table_sizes=table_sizes(source))
    candidate = simulate(apply_plan(sanitized.model, plan).model)
    measured = evaluate(
        runtime.open(source, few_runs=True), runtime.open(candidate, exact=True, few_runs=True), batches
    )
    found = search(
        SearchSubject(sanitized.model, batches, runtime, CONFIG, source), SearchRequest(tuple(budget(measured)))
    )
    return plan, measured, found


def test_on_the_demo_fewer_nodes_keep_the_same_accuracy():
    shipped = materials()
    plan, measured, found = thresholds_and_search(
        shipped.model, shipped.calibration, shipped.evaluation, 50, lambda seen: [f"top1>={seen.task.candidate_top1}"]
    )
    assert found.plan.counts().fp32 < plan.counts().fp32
    assert found.metrics["task/top1"] >= measured.task.candidate_top1
    assert {node.removeprefix("graph/normalize/") for node in found.kept_fp32} == {"energy", "norm"}
    assert sum(node.share for node in found.attribution.nodes[:2]) > 0.99


@pytest.mark.parametrize("name", ["bert_base", "resnet50"])
def test_half_the_nodes_reach_the_fidelity_of_the_thresholds(name, tmp_path):
    built = build(name, tmp_path, layers=2)
    plan, _, found = thresholds_and_search(
        built.path, built.calibration, built.evaluation, 1, lambda seen: [f"rel_l2<={seen.fidelity.worst.rel_l2!r}"]
    )
    assert found.complete and found.evaluations <= 40
    assert len(found.kept_fp32) * 2 <= sum(map(_may_be_lowered, plan.nodes))
    assert all(result.passed for result in found.budgets)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "beyond"), [("bert_base", 0.0), ("bert_base", 1.0), ("resnet50", 0.0), ("resnet50", 2.0)]
)
def test_whole_models_are_searched_and_certified_within_forty_evaluations(name, beyond, tmp_path):
    built = build(name, tmp_path)
    plan, seen, found = thresholds_and_search(
        built.path,
        built.calibration,
        built.evaluation,
        1,
        lambda seen: [f"sqnr_db>={seen.fidelity.worst.sqnr_db + beyond!r}"],
    )
    assert found.complete and found.evaluations <= 40
    assert found.metrics["fidelity/sqnr_db"] >= seen.fidelity.worst.sqnr_db + beyond
    assert [entry.node for entry in found.certificate] == list(found.kept_fp32)
    assert all(entry.failing for entry in found.certificate)
    if not beyond:
        assert found.plan.counts().fp32 * 2 <= plan.counts().fp32


def test_a_budget_beyond_the_thresholds_is_met_and_certified(tmp_path):
    built = build("resnet50", tmp_path, layers=2)
    _, seen, found = thresholds_and_search(
        built.path, built.calibration, built.evaluation, 1, lambda seen: [f"sqnr_db>={seen.fidelity.worst.sqnr_db + 2}"]
    )
    assert found.metrics["fidelity/sqnr_db"] >= seen.fidelity.worst.sqnr_db + 2
    assert [entry.node for entry in found.certificate] == list(found.kept_fp32) != []
    assert found.evaluations <= 40
    assert all(d.precision in (Precision.FP16, Precision.FP32, Precision.NONE) for d in found.plan.nodes)
    # The additive model of errors is what ranks the nodes: it predicts the fully lowered model's error.
    lowest = next(trial for trial in found.trials if not trial.kept)
    assert np.isclose(found.attribution.rel_l2, lowest.metrics["fidelity/rel_l2"], rtol=1e-2)
