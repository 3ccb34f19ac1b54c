"""Fronts of accuracy against cost."""

from itertools import combinations

import pytest

from autocast_core.evaluate.metric_names import WORST_SQNR
from autocast_core.search import FileTrials, pareto
from tests.autocast_core.search.planted import searched
from tests.autocast_core.search.small_graphs import small_graph

BUDGET = "sqnr_db>=20"


def beaten(point, others):
    """Whether one of `others` (cost, SQNR) is as good as `point` in both and better in one."""
    return any(c <= point[0] and s >= point[1] and (c, s) != point for c, s in others)


def ends(found):
    return [(point.cost, point.sqnr_db) for point in found.front]


@pytest.mark.parametrize("seed", [1, 2, 5, 9])
@pytest.mark.parametrize("cost", ["nodes", "traffic"])
def test_no_set_of_a_small_graph_beats_a_point(seed, cost):
    found = searched(*small_graph(seed), BUDGET, cost=cost, pareto=True)
    candidates = {node for trial in found.trials for node in trial.kept}
    everything = {frozenset(kept) for n in range(len(candidates) + 1) for kept in combinations(candidates, n)}
    assert everything == {frozenset(trial.kept) for trial in found.trials}
    assert found.front and not [point for point in ends(found) if beaten(point, ends(found))]
    if cost == "nodes":
        all_sets = [(float(len(trial.kept)), min(trial.metrics[WORST_SQNR], 200.0)) for trial in found.trials]
        assert not [point for point in ends(found) if beaten(point, all_sets)]


def test_where_not_all_sets_fit_no_point_beats_another(planted, monkeypatch):
    monkeypatch.setattr(pareto, "_ALL_SETS", 1)
    found = searched(*planted, "sqnr_db>=55", "no_new_nonfinite", cost="traffic", pareto=True)
    assert len(found.front) >= 4
    assert not [point for point in ends(found) if beaten(point, ends(found))]
    assert [point.cost for point in found.front] == sorted(point.cost for point in found.front)


def test_a_front_takes_at_most_half_as_many_evaluations_more_and_leaves_the_plan_as_it_is(planted):
    budgets = ("sqnr_db>=55", "no_new_nonfinite")
    alone, both = searched(*planted, *budgets), searched(*planted, *budgets, pareto=True)
    assert both.evaluations <= 1.5 * alone.evaluations
    assert both.kept_fp32 == alone.kept_fp32 and both.plan.nodes == alone.plan.nodes
    assert alone.front == ()


def test_a_front_is_resumed(planted, tmp_path):
    store = tmp_path / "trials.jsonl"
    first = searched(*planted, "sqnr_db>=55", pareto=True, trials_store=FileTrials(store))
    lines = store.read_text().count("\n")
    again = searched(*planted, "sqnr_db>=55", pareto=True, trials_store=FileTrials(store))
    assert store.read_text().count("\n") == lines
    assert ends(again) == ends(first)


def test_each_point_is_a_plan_with_its_metrics(planted):
    found = searched(*planted, "sqnr_db>=55", pareto=True)
    for point in found.front:
        decided = point.plan.by_id()
        assert all(decided[node].precision == "fp32" for node in point.kept_fp32)
        assert point.plan.data.metrics[WORST_SQNR] >= point.sqnr_db
