"""What FP32 costs in bytes, against the Casts of applied models and against all sets of small graphs."""

import math
import random
from itertools import combinations

import onnx
import onnx_ir as ir
import pytest

from autocast_core.apply import apply_plan
from autocast_core.apply.placement import Crossing, PrecisionCosts, cheapest, regions, traffic_costs
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import ConversionConfig
from autocast_core.model import load_proto
from autocast_core.sanitize import sanitize
from autocast_core.search.search_space import search_space
from tests.autocast_core.search.small_graphs import small_graph

CONFIG = ConversionConfig()


def space_and_costs(proto, data, config=CONFIG):
    model = sanitize(load_proto(proto), config).model
    space = search_space(model, config, {})
    return space, traffic_costs(model, space.lowest, frozenset(space.candidates), sizes_of(model, data).counts), model


def cast_bytes(model, data):
    """What the Casts between FP32 and 16 bits of a converted model read and write."""
    counts = sizes_of(model, data).counts
    size = {ir.DataType.FLOAT: 4, ir.DataType.FLOAT16: 2}
    casts = [node for node in model.graph if node.op_type == "Cast"]
    return sum(counts[n.inputs[0].name] * (size[n.inputs[0].dtype] + size[n.outputs[0].dtype]) for n in casts)


def subsets(nodes):
    return (frozenset(chosen) for size in range(len(nodes) + 1) for chosen in combinations(nodes, size))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("keeps", [True, False])
def test_the_bytes_of_casts_are_those_of_the_applied_model(seed, keeps):
    proto, data = small_graph(seed)
    space, costs, model = space_and_costs(proto, data, ConversionConfig(keep_io_types=keeps))
    draw = random.Random(seed)
    for _ in range(6):
        kept = frozenset(node for node in space.candidates if draw.random() < 0.5)
        applied = apply_plan(model, space.plan(kept)).model
        assert costs.casts(kept) == cast_bytes(applied, data), kept


@pytest.mark.parametrize("seed", range(12))
def test_no_set_around_a_required_node_is_cheaper(seed):
    space, costs, _ = space_and_costs(*small_graph(seed))
    for node in space.candidates[:3]:
        found = cheapest(costs, space.candidates, required={node})
        least = min(costs.of(kept) for kept in subsets(space.candidates) if node in kept)
        assert node in found and costs.of(found) == least


@pytest.mark.parametrize("seed", range(6))
def test_what_an_error_is_worth_is_weighed_exactly(seed):
    space, costs, _ = space_and_costs(*small_graph(seed))
    draw = random.Random(seed)
    sites = {frozenset(draw.sample(space.candidates, 2)): float(draw.randint(1, 400)) for _ in range(4)}

    def value(kept):
        return costs.of(kept) - math.fsum(worth for site, worth in sites.items() if site <= kept)

    found = cheapest(costs, space.candidates, gains=sites)
    assert value(found) == min(map(value, subsets(space.candidates)))


CHAIN = """
<ir_version: 9, opset_import: ["": 18]>
chain (float[4] x) => (float[4] y) { [a] p = Sin(x) [b] q = Cos(p) [c] r = Tanh(q) [d] s = Sin(r) [e] y = Cos(s) }
"""


def chain_costs():
    space, costs, _ = space_and_costs(onnx.parser.parse_model(CHAIN), {}, ConversionConfig(keep_io_types=True))
    return space, costs


def test_a_node_costs_its_wider_tensors_and_casts_what_they_read_and_write():
    _, costs = chain_costs()
    # Casts at both ends of the model: 4 elements of 4 and 2 bytes each.
    assert costs.casts(frozenset()) == 2 * 4 * 6
    assert costs.of({"graph/c"}) == 1 + 2 * 4 * 2 + 4 * 4 * 6


def test_between_two_required_nodes_the_one_between_is_cheaper_in_fp32():
    space, costs = chain_costs()
    found = cheapest(costs, space.candidates, required={"graph/b", "graph/d"})
    assert "graph/c" in found


def test_a_node_that_is_excluded_stays_low_whatever_that_costs():
    space, costs = chain_costs()
    found = cheapest(costs, space.candidates, required={"graph/b", "graph/d"}, excluded={"graph/c"})
    assert "graph/c" not in found >= {"graph/b", "graph/d"}


def test_groups_are_kept_whole():
    space, costs = chain_costs()
    found = cheapest(costs, space.candidates, required={"graph/a"}, groups=[{"graph/a", "graph/d"}])
    assert "graph/d" in found


def test_regions_are_connected_parts():
    _, costs = chain_costs()
    parts = list(regions(costs, {"graph/a", "graph/b", "graph/d"}))
    assert parts == [{"graph/a", "graph/b"}, {"graph/d"}]


def test_a_tensor_of_a_free_maker_costs_a_cast_only_where_both_types_read_it():
    costs = PrecisionCosts("bytes", {"a": 1.0, "b": 1.0}, (Crossing("x", None, ("a", "b"), 24.0),))
    assert [costs.casts(kept) for kept in ({"a"}, {"a", "b"}, set())] == [24.0, 0.0, 0.0]


def test_nodes_that_change_only_a_shape_cost_no_bytes():
    proto = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 18]> g (float[2, 2] x) => (float[4] y) <int64[1] s = {4}>'
        " { [a] p = Sin(x) [r] y = Reshape(p, s) }"
    )
    _, costs, _ = space_and_costs(proto, {})
    assert costs.own["graph/r"] == 1.0
    assert costs.own["graph/a"] == 1.0 + 2 * 4 * 2


@pytest.mark.parametrize(
    "weight", ["<float[4] w = {1, 2, 3, 4}> { ", "{ [c] w = Constant <value = float[4] {1, 2, 3, 4}> () "]
)
def test_a_weight_costs_its_bytes_wherever_it_is_held(weight):
    proto = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 18]> g (float[4] x) => (float[4] y) {weight} [a] y = Mul(x, w) }}'
    )
    _, costs, _ = space_and_costs(proto, {})
    assert costs.own["graph/a"] == 1.0 + 3 * 4 * 2
