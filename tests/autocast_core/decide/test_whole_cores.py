"""Attention cores are decided as one: thresholds on single tensors do not split them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.attention import attention_cores, fusion_obstacles
from autocast_core.calibrate import Statistics
from autocast_core.calibrate.statistics import TensorStats
from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide import decide
from autocast_core.plan import PrecisionPlan

CORE = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[1, 4, 128, 64] q, float[1, 4, 64, 128] k, float[1, 4, 128, 64] v) => (float[1, 4, 128, 64] y)
<float eighth = {0}> {
    [product] s = MatMul (q, k)
    [scale] t = Mul (s, eighth)
    CAP [soften] p = Softmax (u)
    [p_v] o = MatMul (p, v)
    [behind] y = Relu (o)
}
"""


def model(cap: bool = False) -> ir.Model:
    text = CORE.replace("CAP", "[cap] u = Tanh (t)" if cap else "[same] u = Identity (t)")
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(0.125, np.float32), "eighth"))
    return ir.serde.deserialize_model(proto)


def plan(loaded: ir.Model, largest: dict[str, float], **options) -> PrecisionPlan:
    """The plan where tensors reach 1.0, and those of `largest` what it says."""
    names = ("q", "k", "v", "s", "t", "u", "p", "o", "y")
    known = {name: TensorStats(64, -1.0, 1.0) for name in names}
    known |= {name: TensorStats(64, -size, size) for name, size in largest.items()}
    asked = {"decide": "measured", "small_values": False, **options}
    return decide(loaded, replace(Statistics(), tensors=known), {}, ConversionConfig(**asked))


def fp32(found: PrecisionPlan) -> set[str]:
    return {each.id.removeprefix("graph/") for each in found.nodes if each.precision is Precision.FP32}


def is_whole(loaded: ir.Model, found: PrecisionPlan) -> bool:
    (core,) = attention_cores(loaded.graph)
    return not fusion_obstacles(core, {each.id: each.precision.dtype for each in found.nodes})


def test_scores_over_data_max_keep_what_is_between_the_products_and_lower_the_product():
    loaded = model()
    found = plan(loaded, {"s": 600.0})
    assert "product" not in fp32(found)
    assert is_whole(loaded, found)
    decision = found.by_id()["graph/product"]
    assert decision.rule == "attention_core"
    assert "rule io_range had decided otherwise" in decision.reason


def test_by_thresholds_the_core_is_split():
    loaded = model()
    found = plan(loaded, {"s": 600.0}, decide="thresholds")
    assert {"product", "scale"} <= fp32(found)
    assert not is_whole(loaded, found)


@pytest.mark.parametrize("kept", ["product", "scale"])
def test_what_the_caller_excludes_stays_fp32_and_the_plan_says_that_it_splits_the_core(kept):
    loaded = model()
    found = plan(loaded, {"s": 600.0}, nodes_to_exclude=(kept,))
    assert kept in fp32(found)
    if not is_whole(loaded, found):
        (told,) = [each for each in found.by_id()[f"graph/{kept}"].evidence if "not one kernel" in (each.detail or "")]
        assert "FP32" in told.detail


def test_a_core_that_no_engine_fuses_is_left_to_the_rules():
    loaded = model(cap=True)
    found = plan(loaded, {"s": 600.0})
    assert {"product", "scale"} <= fp32(found)


def test_a_core_that_nothing_splits_keeps_its_decisions():
    found = plan(model(), {})
    assert {each.rule for each in found.nodes} == {"default"}
