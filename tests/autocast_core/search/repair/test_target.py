"""The target of a measured decision: which gates it holds, how they move to other data, and what comes close."""

import pytest

from autocast_core.config import Precision
from autocast_core.evaluate import AskedGates, parse_gate
from autocast_core.search.budget import Budget
from autocast_core.search.repair.target import nearest_reachable, nothing_lost, target_of
from autocast_core.search.trials import Trial

NAMES = {"y": "y", "n:0": "n_0"}


def metrics(ratio, **more):
    return {"fidelity/sqnr_db": ratio, "fidelity/worst_batch/sqnr_db": ratio, **more}


def target(*gates, **judged):
    return target_of(
        AskedGates(gates), Precision.FP16, {f"fidelity/{name}": value for name, value in judged.items()}, NAMES
    )


def test_without_gates_the_target_is_that_of_the_default_gates():
    measured = metrics(30.0, **{"fidelity/new_nonfinite": 0.0, "fidelity/outputs/y/worst_batch/sqnr_db": 30.0})
    found = target_of(AskedGates(), Precision.FP16, measured, {"y": "y"})
    assert [gate.expression for gate in found.gates] == ["worst_batch.sqnr_db>=40", "no_new_nonfinite"]
    assert [result.expression for result in found.missed] == ["worst_batch.sqnr_db>=40"]


def test_gates_on_a_task_and_on_the_originals_nan_are_no_target():
    found = target(
        "top1_drop<=0.001", "task_metric_ratio>=0.9", "no_nonfinite", "rel_l2<=0.1", rel_l2=1.0, nonfinite=3.0
    )
    assert [gate.expression for gate in found.gates] == ["rel_l2<=0.1"]


def test_what_was_not_measured_is_no_target():
    assert target("equal_share>=0.9", rel_l2=1.0).gates == ()


@pytest.mark.parametrize(
    ("gate", "judged", "here", "limit"),
    [
        ("sqnr_db>=40", 30.0, 36.0, 46.0),
        ("sqnr_db>=40", 30.0, 25.0, 40.0),
        ("rel_l2<=0.01", 0.04, 0.02, 0.005),
        ("rel_l2<=0.01", float("inf"), 0.02, 0.01),
        ("max_abs<0.5", 1.0, 2.0, 0.5),
        ("equal_share>=0.9", 0.8, 0.9, 0.95),
        ("new_nonfinite<=0", 7.0, 0.0, 0.0),
    ],
)
def test_a_gate_is_stricter_on_data_on_which_the_model_does_better(gate, judged, here, limit):
    metric = parse_gate(gate).metric
    (moved,) = target(gate, **{metric: judged}).on({f"fidelity/{metric}": here})
    assert moved.limit == pytest.approx(limit)
    assert parse_gate(moved.expression).limit == pytest.approx(limit)


def test_a_gate_on_what_the_other_data_lacks_is_left_out():
    assert target("rel_l2<=0.1", rel_l2=1.0).on({}) == ()


def trial(**found):
    return Trial(1, (), {f"fidelity/{name}": value for name, value in found.items()})


def test_a_budget_that_can_be_met_stays():
    budget = Budget((parse_gate("sqnr_db>=40"),), NAMES)
    assert nearest_reachable(budget, trial(sqnr_db=10.0), trial(sqnr_db=50.0)) is budget


def test_a_budget_that_cannot_be_met_becomes_what_can():
    budget = Budget((parse_gate("sqnr_db>=40"), parse_gate("rel_l2<=0.001")), NAMES)
    found = nearest_reachable(budget, trial(sqnr_db=10.0, rel_l2=0.3), trial(sqnr_db=30.0, rel_l2=0.03))
    assert [gate.limit for gate in found.gates] == pytest.approx([29.9, 0.03 * 10 ** (0.1 / 20)])


def test_nothing_comes_closer_where_keeping_all_nodes_gains_nothing():
    budget = Budget((parse_gate("sqnr_db>=40"),), NAMES)
    assert nearest_reachable(budget, trial(sqnr_db=10.0), trial(sqnr_db=10.05)) is None


def test_nothing_is_lost_while_each_output_stays_within_a_tenth_of_a_decibel():
    reached = {
        "fidelity/outputs/y/sqnr_db": 50.0,
        "fidelity/outputs/n_0/sqnr_db": 30.0,
        "fidelity/outputs/n_0/equal_share": 0.99,
    }
    ratio, equal = nothing_lost(NAMES, reached)
    assert ratio.check({"fidelity/outputs/y/sqnr_db": 49.91}, NAMES).passed
    assert not ratio.check({"fidelity/outputs/y/sqnr_db": 49.89}, NAMES).passed
    assert equal.check({"fidelity/outputs/n_0/equal_share": 0.99}, NAMES).passed
    assert not equal.check({"fidelity/outputs/n_0/equal_share": 0.98}, NAMES).passed
