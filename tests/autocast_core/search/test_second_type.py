"""A search with two 16-bit types: what it keeps for range goes to BF16, what it keeps for precision stays in FP32."""

import pytest

from autocast_core.config import ConversionConfig, Precision
from autocast_core.plan import PrecisionPlan
from autocast_core.search import MemoryTrials
from tests.autocast_core.search.planted import names, searched

BOTH = ConversionConfig(precision=Precision.FP16, range_precision=Precision.BF16)
BUDGET = "sqnr_db>=40"


def in_type(found, precision):
    return names(each.id for each in found.plan.nodes if each.precision is precision)


@pytest.fixture
def half(planted):
    return searched(*planted, BUDGET)


def test_nodes_that_overflow_are_bf16_and_the_budget_is_met(planted, half):
    found = searched(*planted, BUDGET, config=BOTH)
    assert found.plan.low == (Precision.FP16, Precision.BF16)
    wide = in_type(found, Precision.BF16)
    assert {"overflow", "square", "sum"} <= wide
    assert wide <= names(half.kept_fp32)
    assert names(found.kept_fp32) == names(half.kept_fp32) - wide
    assert all(result.passed for result in found.budgets)
    assert found.metrics["fidelity/sqnr_db"] >= 40.0
    assert {found.plan.by_id()[f"graph/{name}"].rule for name in wide} == {"range"}


def test_what_stays_in_fp32_beside_them_is_certified(planted):
    found = searched(*planted, BUDGET, config=BOTH)
    assert found.complete
    assert [entry.node for entry in found.certificate] == list(found.kept_fp32)
    assert all(entry.failing for entry in found.certificate)
    lowest = [each for each in found.kept_fp32 if "shift" in each]
    assert lowest  # a difference of near-equal numbers needs precision


def test_evaluations_and_trials_are_counted_over_both_parts(planted, half):
    found = searched(*planted, BUDGET, config=BOTH)
    assert found.evaluations > half.evaluations
    assert [trial.number for trial in found.trials] == list(range(1, len(found.trials) + 1))
    assert found.plan.data.evaluations == found.evaluations
    assert found.noise_floor == half.noise_floor


def test_an_interrupted_search_measures_nothing_twice(planted):
    store = MemoryTrials()
    first = searched(*planted, BUDGET, config=BOTH, trials_store=store)
    again = searched(*planted, BUDGET, config=BOTH, trials_store=store)
    assert again.plan == first.plan
    assert PrecisionPlan.from_json(again.plan.to_json()) == again.plan


def test_a_budget_that_bf16_cannot_meet_keeps_them_in_fp32(planted):
    half, found = searched(*planted, "sqnr_db>=62"), searched(*planted, "sqnr_db>=62", config=BOTH)
    assert found.kept_fp32 == half.kept_fp32
    assert not in_type(found, Precision.BF16)


def test_a_limit_of_evaluations_holds_for_both_parts(planted, half):
    found = searched(*planted, BUDGET, config=BOTH, max_trials=half.evaluations)
    assert found.evaluations <= half.evaluations
    assert found.kept_fp32 == half.kept_fp32
