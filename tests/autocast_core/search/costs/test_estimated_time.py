"""Searching for the least estimated time."""

import pytest

from autocast_core.backends.tensorrt import validate
from autocast_core.engine.devices import devices
from autocast_core.errors import ConfigError, DataError
from autocast_core.pipeline.stages.plans.search import request_of
from autocast_core.search import SearchRequest
from autocast_core.search.costs.estimated_time import EstimatedTime, device_of
from tests.autocast_core.search.planted import searched

BUDGETS = ("sqnr_db>=55", "no_new_nonfinite")


def test_each_kept_node_misses_the_budget_or_saves_no_time(planted):
    found = searched(*planted, *BUDGETS, cost="time:t4")
    assert found.complete and all(result.passed for result in found.budgets)
    assert all(entry.failing or entry.costs <= 0 for entry in found.certificate)
    assert {entry.unit for entry in found.certificate} == {f"µs (estimated for {devices()['t4'].name})"}


def test_a_node_that_costs_no_time_costs_nothing_at_all(planted):
    found = searched(*planted, *BUDGETS, cost="time:t4")
    assert all(entry.costs == round(entry.costs, 6) for entry in found.certificate)


def test_no_device_is_the_default_one():
    assert device_of("time") == device_of("time:l4")
    assert device_of("traffic") is None


@pytest.mark.parametrize("cost", ["time:abacus", "time:"])
def test_an_unknown_device_is_refused_with_the_known_ones(cost):
    with pytest.raises(ConfigError, match=r"give one of .*l4"):
        SearchRequest(BUDGETS, cost)


@pytest.mark.parametrize(("installed", "cost"), [(True, "time"), (False, "nodes")])
def test_time_is_minimized_where_engines_can_be_built_and_nodes_elsewhere(installed, cost, monkeypatch):
    monkeypatch.setattr(validate, "is_installed", lambda: installed)
    assert request_of(BUDGETS).cost == cost
    assert request_of(BUDGETS, "traffic").cost == "traffic"


@pytest.mark.parametrize("asked", [{"cost": "time"}, {"cost": "time", "else_cost": "nodes"}])
def test_where_no_time_can_be_estimated_the_other_cost_is_minimized_if_there_is_one(asked, planted, monkeypatch):
    def fail(*_):
        raise DataError("time cannot be estimated")

    monkeypatch.setattr(EstimatedTime, "of_batch", fail)
    if "else_cost" not in asked:
        with pytest.raises(DataError, match="time cannot be estimated"):
            searched(*planted, *BUDGETS, **asked)
        return
    assert {entry.unit for entry in searched(*planted, *BUDGETS, **asked).certificate} == {"nodes"}
