"""Cast placement as the last step of a measured decision, and on its own for a plan in a file."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from msgspec import UNSET

from autocast_core import ConversionConfig, convert_file
from autocast_core.config import Precision
from autocast_core.decide.rules import IO_RANGE, PLACEMENT, RELEASE
from autocast_core.model import load_proto
from autocast_core.pipeline.given_plans.place_casts import place_casts_file
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.plans.cheaper_casts import with_casts_placed
from autocast_core.sanitize import sanitize
from autocast_core.search.search_space import search_space, soft_nodes
from tests.autocast_core.search.costs.test_cast_placement import CHAIN, wide

DATA = {"x": np.linspace(-3, 3, 64, dtype="f4")}
EXCLUDED = ConversionConfig(nodes_to_exclude=("b", "e"))
MEASURED = replace(EXCLUDED, decide="measured", repair_evaluations=0)


def converted(folder, config):
    onnx.save(onnx.parser.parse_model(CHAIN), folder / "m.onnx")
    return convert_file(folder / "m.onnx", folder / f"{config.decide}.onnx", config, calibration=DATA)


def test_a_measured_decision_places_casts_and_thresholds_do_not(tmp_path):
    by_thresholds, measured = converted(tmp_path, EXCLUDED), converted(tmp_path, MEASURED)
    assert wide(by_thresholds.plan) == {"b", "e"} < wide(measured.plan)
    assert {"c", "d"} <= wide(measured.plan)
    assert measured.casts_inserted < by_thresholds.casts_inserted
    record = measured.plan.data.placement
    assert record.cast_bytes_after < record.cast_bytes_before
    assert set(record.moved) == {f"graph/{name}" for name in wide(measured.plan) - {"b", "e"}}
    assert "Cast placement moved" in measured.plan.measured_summary()
    assert measured.plan.measured_metrics()["placement/moved"] == len(record.moved)


def test_a_plan_that_is_cheapest_says_nothing_of_placement(tmp_path):
    found = converted(tmp_path, replace(MEASURED, nodes_to_exclude=("b",)))
    assert wide(found.plan) == {"b"}
    assert found.plan.measured_summary() is None


def test_placement_never_leaves_a_model_in_fp32_throughout():
    """As a repair may leave one node in 16 bits: FP32 throughout would meet its target, and is no conversion."""
    config = ConversionConfig(decide="measured")
    model = sanitize(load_proto(onnx.parser.parse_model(CHAIN)), config).model
    plan = search_space(model, config, {}).plan([f"graph/{name}" for name in "abdeg"])
    found = with_casts_placed(Job(onnx.parser.parse_model(CHAIN), config, DATA), model, plan, DATA)
    assert wide(found) == wide(plan) == set("abdeg")


NORMALIZED = """
<ir_version: 9, opset_import: ["": 18]>
normalized (float[8, 64] x) => (float[8, 64] y) <float[64] g = {GAINS}, float[64, 64] w = {WEIGHTS}> {
    [up] u = MatMul(x, w) [first] p = LayerNormalization(u, g) [c] q = Cos(p) [d] r = Tanh(q)
    [last] s = LayerNormalization(r, g) [down] y = MatMul(s, w) }
""".replace("GAINS", ", ".join(["1"] * 64)).replace("WEIGHTS", ", ".join(["0.01"] * 4096))


@pytest.mark.parametrize(("target", "moves"), [(None, True), ("tensorrt", False)])
def test_for_an_engine_casts_stay_where_more_would_cross_kernels(target, moves):
    """Casts are inside kernels there: FP32 between both normalizations would cross in four bytes instead of two."""
    config = ConversionConfig(decide="measured", target=target)
    model = sanitize(load_proto(onnx.parser.parse_model(NORMALIZED)), config).model
    plan = search_space(model, config, {}).plan(("graph/first", "graph/last"))
    data = {"x": np.ones((8, 64), "f4")}
    found = with_casts_placed(Job(onnx.parser.parse_model(NORMALIZED), config, data), model, plan, data)
    assert ({"c", "d"} <= wide(found)) is moves
    assert found == plan or moves


def test_moved_nodes_may_be_released_with_what_they_were_moved_to_and_not_alone():
    model = sanitize(load_proto(onnx.parser.parse_model(CHAIN)), ConversionConfig()).model
    plan = search_space(model, ConversionConfig(), {}).lowest
    moved = plan.with_precisions({"graph/c": Precision.FP32}, PLACEMENT.name, "")
    assert soft_nodes(moved) == ()
    both = moved.with_precisions({"graph/b": Precision.FP32}, IO_RANGE.name, "")
    assert soft_nodes(both) == ("graph/b", "graph/c")


@pytest.mark.parametrize(("released", "moved"), [(("b", "c", "d", "e"), None), (("d",), {"graph/c", "graph/d"})])
def test_a_plan_of_which_nodes_were_released_is_placed_anew_and_says_so(released, moved, tmp_path):
    made = converted(tmp_path, MEASURED)
    nodes = {f"graph/{name}": Precision.FP16 for name in released}
    plan = made.plan.with_precisions(nodes, RELEASE.name, "")
    model = sanitize(load_proto(onnx.parser.parse_model(CHAIN)), MEASURED).model
    record = with_casts_placed(Job(tmp_path / "m.onnx", MEASURED, DATA), model, plan, DATA).data.placement
    assert record is UNSET if moved is None else set(record.moved) == moved


def test_a_placed_plan_is_applied_to_its_model(tmp_path):
    made = converted(tmp_path, EXCLUDED)
    found = place_casts_file(tmp_path / "m.onnx", made.plan)
    again = convert_file(tmp_path / "m.onnx", tmp_path / "placed.onnx", plan=found)
    assert wide(again.plan) >= {"b", "c", "d", "e"}
