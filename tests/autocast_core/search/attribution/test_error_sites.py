"""The order in which nodes are kept, from where errors enter."""

from autocast_core.search.attribution.error_sites import steps


def site(*nodes):
    return frozenset(nodes)


def test_the_larger_error_comes_first():
    found = steps({site("a"): 0.2, site("b"): 0.7, site("c"): 0.1}, ["a", "b", "c"])
    assert [step.nodes for step in found] == [("b",), ("a",), ("c",)]
    assert [round(step.remaining, 9) for step in found] == [0.3, 0.1, 0.0]


def test_nodes_that_only_help_together_come_together():
    found = steps({site("a", "b"): 0.8, site("c"): 0.2}, ["a", "b", "c"])
    assert found[0].nodes == ("a", "b")


def test_an_error_for_each_node_decides_between_sets():
    found = steps({site("a", "b", "c"): 0.6, site("d"): 0.4}, ["a", "b", "c", "d"])
    assert [step.nodes for step in found] == [("d",), ("a", "b", "c")]


def test_a_set_is_worth_all_that_it_removes():
    sites = {site("a", "b"): 0.3, site("a"): 0.15, site("b"): 0.15, site("c"): 0.4 / 2, site("d"): 0.2}
    assert steps(sites, ["a", "b", "c", "d"])[0].nodes == ("a", "b")


def test_nodes_without_errors_come_last_one_by_one():
    found = steps({site("b"): 1.0}, ["a", "b", "c"])
    assert [step.nodes for step in found] == [("b",), ("c",), ("a",)]


def test_weights_make_a_node_expensive():
    found = steps({site("a"): 0.6, site("b"): 0.4}, ["a", "b"], {"a": 100.0, "b": 1.0})
    assert [step.nodes for step in found] == [("b",), ("a",)]


def test_equal_errors_keep_the_order_of_the_graph():
    found = steps({site(name): 0.25 for name in "dcba"}, ["a", "b", "c", "d"])
    assert [step.nodes[0] for step in found] == ["a", "b", "c", "d"]
