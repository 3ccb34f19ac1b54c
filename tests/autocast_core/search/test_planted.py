"""Planted sensitive nodes: an overflow, a cancellation, a long sum, positions beyond 2048."""

import pytest

from tests.autocast_core.search.planted import SENSITIVE, names, searched


@pytest.fixture(scope="module")
def found(planted):
    return searched(*planted, "sqnr_db>=55", "no_new_nonfinite")


def test_only_planted_nodes_are_kept(found):
    assert found.complete
    assert names(found.kept_fp32) <= SENSITIVE
    assert {"overflow", "down", "shift", "unshift"} <= names(found.kept_fp32)


def test_angles_of_positions_stay_kept_without_a_trial(found):
    decided = found.plan.by_id()
    assert {decided[f"graph/{name}"].rule for name in ("angle", "wave")} == {"angles"}
    assert not {"graph/angle", "graph/wave"} & {entry.node for entry in found.certificate}


def test_every_budget_is_met(found):
    assert all(result.passed for result in found.budgets)
    assert found.metrics["fidelity/sqnr_db"] >= 55
    assert found.metrics["fidelity/new_nonfinite"] == 0


def test_every_kept_node_has_a_failing_measurement(found):
    assert [entry.node for entry in found.certificate] == list(found.kept_fp32)
    assert all(entry.failing for entry in found.certificate)


def test_attribution_ranks_the_planted_nodes_first(found):
    first = [node.id for node in found.attribution.nodes[: len(SENSITIVE) - 2]]
    assert names(first) <= SENSITIVE
    assert sum(node.share for node in found.attribution.nodes[: len(SENSITIVE)]) > 0.9
    assert sum(node.share for node in found.attribution.nodes) == pytest.approx(1.0)


def test_overflow_is_counted_where_it_happens(found):
    by_name = {node.id.removeprefix("graph/"): node for node in found.attribution.nodes}
    assert by_name["overflow"].overflow > 0
    assert by_name["embed"].overflow == 0


def test_the_search_stays_within_forty_evaluations(found):
    assert found.evaluations <= 40


def test_the_plan_says_why(found):
    decision = found.plan.by_id()["graph/overflow"]
    assert decision.rule == "search"
    assert "lowered too: no_new_nonfinite fails" in decision.reason
    assert found.plan.data.attribution[0].id in {f"graph/{name}" for name in SENSITIVE}


def test_the_plan_says_of_weights_what_its_own_decisions_do(found):
    """Weight m is beyond FP16's range, and its only reader is kept."""
    assert found.plan.by_id()["graph/down"].precision == "fp32"
    assert "m" not in {each.tensor for each in found.plan.weights}
    assert not [warning for warning in found.plan.warnings if "'m'" in warning]
