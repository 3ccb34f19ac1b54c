"""Cuts against all cuts of small random networks."""

import random
from itertools import combinations

import pytest

from autocast_core.apply.placement.minimum_cut import FlowNetwork


def cheapest_by_trying(arcs, nodes):
    """The least cost of a cut of `arcs` (tail, head, capacity) that separates "s" from "t"."""
    sides = [{"s", *inner} for size in range(len(nodes) + 1) for inner in combinations(nodes, size)]
    return min(sum(c for a, b, c in arcs if a in side and b not in side) for side in sides)


@pytest.mark.parametrize("seed", range(40))
def test_no_cut_of_a_small_network_is_cheaper(seed):
    draw = random.Random(seed)
    nodes = list(range(draw.randint(1, 7)))
    ends = [*nodes, "s", "t"]
    arcs = [(draw.choice(ends), draw.choice(ends), draw.randint(0, 9)) for _ in range(draw.randint(3, 24))]
    network = FlowNetwork()
    for tail, head, capacity in arcs:
        network.add(tail, head, capacity)
    side = network.source_side("s", "t")
    assert "s" in side and "t" not in side
    cost = sum(capacity for tail, head, capacity in arcs if tail in side and head not in side)
    assert cost == cheapest_by_trying(arcs, nodes)


def test_of_equally_cheap_cuts_the_one_with_the_fewest_nodes_is_taken():
    network = FlowNetwork()
    network.add("s", "a", 3)
    network.add("a", "t", 3)
    assert network.source_side("s", "t") == {"s"}


def test_an_arc_has_its_own_capacity_each_way():
    network = FlowNetwork()
    network.add("s", "a", 2)
    network.add("b", "a", 5, back=1)
    network.add("b", "t", 9)
    assert network.source_side("s", "t") == {"s", "a"}
