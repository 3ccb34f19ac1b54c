"""Cast placement as a last pass over a plan."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.apply import apply_plan
from autocast_core.attention import attention_cores
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import Precision
from autocast_core.model import load_proto
from autocast_core.pipeline.place_casts import place_casts, place_casts_file
from autocast_core.plan import PrecisionPlan
from autocast_core.sanitize import sanitize
from autocast_core.search.search_space import search_space
from tests.autocast_core.apply.placement.test_traffic import cast_bytes
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


@pytest.mark.parametrize("seed", range(8))
def test_on_small_graphs_it_never_moves_more_bytes_and_lowers_nothing_that_computes(seed):
    proto, data = small_graph(seed)
    model, _ = model_and_plan(proto, ())
    names = [node.name for node in model.graph][::2]
    _, before, found = placed(proto, names, data)
    record = found.data.placement
    assert record.traffic_after <= record.traffic_before
    assert wide(before) <= wide(found)


TABLE = """
<ir_version: 9, opset_import: ["": 18]>
table (float[4, 4] x) => (float[4, 4] y) { [a] p = Sin(x) [t] q = Transpose(p) [b] r = Cos(q) [c] y = Sin(r) }
"""


def test_a_node_that_only_hands_numbers_on_to_low_ones_becomes_low():
    _, _, found = placed(onnx.parser.parse_model(TABLE), ("a", "t"), {})
    assert "t" not in wide(found) and "a" in wide(found)


def test_attention_cores_are_not_touched():
    proto, data = layered(2)
    model, before, found = placed(proto, ("l0_query", "l0_out", "l1_key"), {"x": data["x"][:1]})
    cores = {m.removeprefix("graph/") for core in attention_cores(model.graph) for m in core.members}
    assert len(cores) >= 6
    assert wide(before) & cores == wide(found) & cores


def test_a_plan_without_casts_stays_as_it_is():
    _, before, found = placed(onnx.parser.parse_model(CHAIN), (), {})
    assert found.nodes == before.nodes and found.data.placement.moved == ()


def test_a_placed_plan_is_applied_to_its_model(tmp_path):
    onnx.save(onnx.parser.parse_model(CHAIN), tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.ones(64, "f4"))
    config = ConversionConfig(nodes_to_exclude=("b",))
    made = convert_file(tmp_path / "m.onnx", tmp_path / "low.onnx", config, calibration=tmp_path / "d.npz")
    plan = made.plan.with_precisions({"graph/d": Precision.FP32}, "search", "")
    found = place_casts_file(tmp_path / "m.onnx", plan)
    again = convert_file(tmp_path / "m.onnx", tmp_path / "placed.onnx", plan=found)
    assert wide(again.plan) >= {"b", "c", "d"}
