"""Searching for the least estimated time."""

import pytest

from autocast_core.engine.devices import devices
from autocast_core.errors import ConfigError
from autocast_core.search import SearchRequest
from autocast_core.search.costs.estimated_time import device_of
from tests.autocast_core.search.planted import searched

BUDGETS = ("sqnr_db>=55", "no_new_nonfinite")


def test_each_kept_node_misses_the_budget_or_saves_no_time(planted):
    found = searched(*planted, *BUDGETS, cost="time:t4")
    assert found.complete and all(result.passed for result in found.budgets)
    assert all(entry.failing or entry.costs <= 0 for entry in found.certificate)
    assert {entry.unit for entry in found.certificate} == {f"µs (estimated for {devices()['t4'].name})"}


def test_no_device_is_the_default_one():
    assert device_of("time") == device_of("time:l4")
    assert device_of("traffic") is None


@pytest.mark.parametrize("cost", ["time:abacus", "time:"])
def test_an_unknown_device_is_refused_with_the_known_ones(cost):
    with pytest.raises(ConfigError, match=r"give one of .*l4"):
        SearchRequest(BUDGETS, cost)
