"""Cast placement as a last pass over a plan, against all placements of small graphs."""

import onnx
import pytest

from autocast_core import ConversionConfig
from autocast_core.apply import apply_plan
from autocast_core.attention import attention_cores
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import Precision
from autocast_core.model import load_proto
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize import sanitize
from autocast_core.search.costs.cast_placement import place_casts
from autocast_core.search.search_space import search_space
from tests.autocast_core.apply.placement.test_traffic import cast_bytes, space_and_costs, subsets
from tests.autocast_core.search.layered import layered
from tests.autocast_core.search.small_graphs import small_graph

CONFIG = ConversionConfig()


def model_and_plan(proto, kept):
    model = sanitize(load_proto(proto), CONFIG).model
    plan = search_space(model, CONFIG, {}).plan(f"graph/{name}" for name in kept)
    return model, plan


def placed(proto, kept, data):
    """(model, plan, the plan with its Casts placed)."""
    model, plan = model_and_plan(proto, kept)
    return model, plan, place_casts(model, plan, dict(sizes_of(model, data).counts))


def wide(plan):
    return {node.id.removeprefix("graph/") for node in plan.nodes if node.precision is Precision.FP32}


CHAIN = """
<ir_version: 9, opset_import: ["": 18]>
chain (float[64] x) => (float[64] y) <int64[2] s = {8, 8}, int64[1] f = {64}> {
    [a] p = Sin(x) [b] q = Cos(p) [c] r = Tanh(q) [d] t = Sin(r) [e] u = Tanh(t) [g] y = Cos(u) }
"""


def test_a_node_between_two_kept_ones_joins_them():
    _, _, found = placed(onnx.parser.parse_model(CHAIN), ("b", "d"), {})
    assert {"b", "c", "d"} <= wide(found)
    assert found.by_id()["graph/c"].rule == "placement"


def test_both_numbers_are_in_the_plan_and_are_those_of_the_applied_models():
    model, before, found = placed(onnx.parser.parse_model(CHAIN), ("b", "d"), {})
    record = found.data.placement
    assert record.moved == tuple(sorted(f"graph/{name}" for name in wide(found) - {"b", "d"}))
    assert record.cast_bytes_before == cast_bytes(apply_plan(model, before).model, {})
    assert record.cast_bytes_after == cast_bytes(apply_plan(model, found).model, {})
    assert record.traffic_after < record.traffic_before
    assert PrecisionPlan.from_json(found.to_json()).data.placement == record


@pytest.mark.parametrize("seed", range(12))
def test_on_small_graphs_no_other_placement_moves_fewer_bytes(seed):
    proto, data = small_graph(seed)
    space, costs, model = space_and_costs(proto, data)
    kept = frozenset(space.candidates[::2])
    found = place_casts(model, space.plan(kept), sizes_of(model, data).counts)
    products = {f"graph/{node.name}" for node in model.graph if node.op_type == "MatMul"}
    at_ends = {
        f"graph/{n.name}" for n in model.graph if {*n.inputs, *n.outputs} & {*model.graph.inputs, *model.graph.outputs}
    }
    free = [node for node in space.candidates if node not in kept | products | at_ends]
    wide_nodes = frozenset(node.id for node in found.nodes if node.precision is Precision.FP32)
    assert kept <= wide_nodes and not products & (wide_nodes - kept)
    assert costs.of(wide_nodes) == min(costs.of(kept | more) for more in subsets(free))
    record = found.data.placement
    assert record.traffic_before - record.traffic_after == costs.of(kept) - costs.of(wide_nodes)
    assert record.cast_bytes_before - record.cast_bytes_after == costs.casts(kept) - costs.casts(wide_nodes)


def test_a_plan_that_is_placed_again_stays_as_it_is_and_says_the_same():
    model, _, found = placed(onnx.parser.parse_model(CHAIN), ("b", "d"), {})
    assert place_casts(model, found, sizes_of(model, {}).counts) == found


def test_nodes_whose_sizes_are_not_known_stay_as_they_are():
    model, before = model_and_plan(onnx.parser.parse_model(CHAIN), ("b", "d"))
    assert place_casts(model, before, {}).nodes == before.nodes


BETWEEN = """
<ir_version: 9, opset_import: ["": 18]>
between (float[8, 8] x) => (float[8, 8] y) <float[8, 8] w = {WEIGHTS}> {
    [a] p = Sin(x) [b] q = Cos(p) [product] r = MatMul(q, w) [d] t = Sin(r) [e] y = Tanh(t) }
""".replace("WEIGHTS", ", ".join(["0.1"] * 64))


@pytest.mark.parametrize(("keeps", "joins"), [(False, False), (True, True)])
def test_a_node_whose_type_an_input_takes_stays_as_it_is(keeps, joins):
    config = ConversionConfig(keep_io_types=keeps)
    model = sanitize(load_proto(onnx.parser.parse_model(CHAIN)), config).model
    plan = search_space(model, config, {}).plan(("graph/b",))
    assert ("a" in wide(place_casts(model, plan, sizes_of(model, {}).counts))) is joins


def test_a_product_between_two_kept_nodes_stays_low():
    _, before, found = placed(onnx.parser.parse_model(BETWEEN), ("b", "d"), {})
    assert "product" not in wide(found) and wide(before) <= wide(found)


TABLE = """
<ir_version: 9, opset_import: ["": 18]>
table (float[4, 4] x) => (float[4, 4] y) { [a] p = Sin(x) [t] q = Transpose(p) [b] r = Cos(q) [c] y = Sin(r) }
"""


def test_a_node_that_only_hands_numbers_on_to_low_ones_becomes_low():
    _, _, found = placed(onnx.parser.parse_model(TABLE), ("a", "t"), {})
    assert "t" not in wide(found) and "a" in wide(found)


def test_a_node_that_a_rule_of_the_callers_keeps_stays_in_fp32():
    model, plan = model_and_plan(onnx.parser.parse_model(TABLE), ("a",))
    plan = plan.with_precisions({"graph/t": Precision.FP32}, "rule_of_the_callers", "")
    assert "t" in wide(place_casts(model, plan, sizes_of(model, {}).counts))


def test_attention_cores_are_not_touched():
    proto, data = layered(2)
    model, before, found = placed(proto, ("l0_query", "l0_out", "l1_key"), {"x": data["x"][:1]})
    cores = {m.removeprefix("graph/") for core in attention_cores(model.graph) for m in core.members}
    assert len(cores) >= 6
    assert wide(before) & cores == wide(found) & cores


def test_a_plan_without_casts_stays_as_it_is():
    _, before, found = placed(onnx.parser.parse_model(CHAIN), (), {})
    assert found.nodes == before.nodes and found.data.placement.moved == ()
