"""Searching models of equal blocks by pattern first."""

from importlib import import_module

import onnx
import pytest

from autocast_core.config import ConversionConfig
from autocast_core.evaluate import parse_gate
from autocast_core.evaluate.metric_names import WORST_REL_L2
from autocast_core.model import load_proto
from autocast_core.sanitize import sanitize
from autocast_core.search.attribution import Attribution
from autocast_core.search.blocks.blocks_first import lower_needless_patterns
from autocast_core.search.blocks.equal_blocks import by_blocks, equal_nodes
from autocast_core.search.budget import Budget
from autocast_core.search.minimal_set import MeasuringLimits, Tester, most_expected
from autocast_core.search.ranking import ranked
from autocast_core.search.search_space import SearchSpace, search_space
from autocast_core.search.trials import Trial
from tests.autocast_core.search.layered import layered
from tests.autocast_core.search.planted import searched

CONFIG = ConversionConfig()
BEYOND = "sqnr_db>=49.2"
"""15 dB more than the model of 12 layers has with everything low."""
# Without patterns, as counted by the slow test below.
TRAFFIC_EVALUATIONS, TRAFFIC_TRIALS = 33, 212
NODES_EVALUATIONS, NODES_TRIALS = 28, 241


def sanitized(proto):
    return sanitize(load_proto(proto), CONFIG).model


def names(ids):
    return {node_id.removeprefix("graph/") for node_id in ids}


def test_nodes_at_one_place_of_equal_layers_are_equal():
    classes = [names(found) for found in equal_nodes(sanitized(layered(8)[0]))]
    of_shift = next(found for found in classes if "l4_shift" in found)
    assert {f"l{layer}_shift" for layer in range(1, 7)} <= of_shift
    assert all("shift" in name for name in of_shift)


def test_a_node_that_reads_another_weight_shape_is_not_equal():
    text = """<ir_version: 9, opset_import: ["": 18]> g (float[4] x) => (float[4] y)
      <float[1] a = {1}, float[4] b = {1, 1, 1, 1}> { [p] q = Add(x, a) [r] y = Add(q, b) }"""
    classes = [names(found) for found in equal_nodes(sanitized(onnx.parser.parse_model(text)))]
    assert sorted(map(sorted, classes)) == [["p"], ["r"]]


def test_a_model_without_a_row_of_blocks_is_searched_node_by_node(planted):
    model = sanitized(planted[0])
    assert by_blocks(model, search_space(model, CONFIG, {})) is None


def test_two_layers_are_no_row_of_blocks():
    model = sanitized(layered(2)[0])
    assert by_blocks(model, search_space(model, CONFIG, {})) is None


def test_patterns_are_whole_with_the_groups_of_nodes_that_need_one_precision():
    model = sanitized(layered(8)[0])
    space = by_blocks(model, search_space(model, CONFIG, {}))
    for node in space.candidates:
        group = space.together([node])
        assert all(space.together([other]) == group for other in group)


def test_twelve_layers_take_a_third_of_the_evaluations():
    found = searched(*layered(12), BEYOND, cost="traffic")
    assert found.complete and all(result.passed for result in found.budgets)
    assert found.evaluations <= TRAFFIC_EVALUATIONS / 3
    assert len(found.trials) <= TRAFFIC_TRIALS / 3
    assert {entry.node for entry in found.certificate} == set(found.kept_fp32)
    assert all(entry.failing or entry.costs <= 0 for entry in found.certificate)
    kept = set(found.kept_fp32)
    assert all(entry.node in entry.lowered and kept.issuperset(entry.lowered) for entry in found.certificate)


def test_a_budget_near_everything_low_takes_few_plans():
    found = searched(*layered(12), "sqnr_db>=37.2")
    assert found.complete and all(entry.failing for entry in found.certificate)
    assert (found.evaluations, len(found.trials), len(found.kept_fp32)) == (4, 8, 6)


class Measured:
    """Trials of sets by a formula, in place of Measurements."""

    most = 99
    passes = 0

    def __init__(self, error):
        self._error, self._trials = error, {}

    def known(self, kept):
        return self._trials.get(kept)

    def run(self, groups):
        for kept in (each for group in groups for each in group):
            metrics = {WORST_REL_L2: self._error(kept)}
            self._trials[kept] = Trial(len(self._trials) + 1, tuple(sorted(kept)), metrics)


@pytest.mark.timeout(20)
def test_one_pattern_is_lowered_where_each_alone_passes_and_no_two_together():
    nodes = tuple(f"n{place}" for place in range(8))
    ranking = ranked(SearchSpace(None, nodes, {}), Attribution())
    measured = Measured(lambda kept: 0.06 if len(kept) >= 7 else 0.2)
    tester = Tester(ranking, measured, Budget((parse_gate("rel_l2<=0.1"),)), MeasuringLimits(), frozenset(nodes))
    assert tester.passes(frozenset(nodes))
    lower_needless_patterns(tester)
    assert len(tester.best) == 7


def test_as_many_are_expected_to_pass_as_share_the_error_between_two_measured_sets():
    nodes = tuple(f"n{place}" for place in range(8))
    ranking = ranked(SearchSpace(None, nodes, {}), Attribution())
    measured = Measured(lambda kept: (0.01 + 0.01 * (8 - len(kept))) ** 0.5)
    tester = Tester(ranking, measured, Budget((parse_gate("rel_l2<=0.25"),)), MeasuringLimits(), frozenset(nodes))
    sets = [frozenset(nodes[lowered:]) for lowered in range(9)]
    assert most_expected(tester, ranking, sets) is None
    tester.trials([sets[0], sets[-1]])
    assert most_expected(tester, ranking, sets) == 5


def test_a_set_that_saves_little_of_an_engines_time_and_much_of_what_fp32_adds_is_taken():
    found = searched(*layered(12), "sqnr_db>=37.2", cost="time")
    assert found.complete and (len(found.trials), len(found.kept_fp32)) == (15, 6)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_so_do_they_for_the_fewest_nodes():
    found = searched(*layered(12), BEYOND)
    assert found.complete and all(result.passed for result in found.budgets)
    assert found.evaluations <= NODES_EVALUATIONS / 3
    assert len(found.trials) <= NODES_TRIALS / 2.5
    assert all(entry.failing for entry in found.certificate)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("cost", "expected"),
    [("traffic", (TRAFFIC_EVALUATIONS, TRAFFIC_TRIALS)), ("nodes", (NODES_EVALUATIONS, NODES_TRIALS))],
)
def test_without_patterns_it_took_more(cost, expected, monkeypatch):
    monkeypatch.setattr(import_module("autocast_core.search.search"), "by_blocks", lambda model, space: None)
    found = searched(*layered(12), BEYOND, cost=cost)
    assert (found.evaluations, len(found.trials)) == expected
