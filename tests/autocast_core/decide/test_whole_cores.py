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


def model(cap: bool = False, text: str = CORE) -> ir.Model:
    text = text.replace("CAP", "[cap] u = Tanh (t)" if cap else "[same] u = Identity (t)")
    proto = onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(0.125, np.float32), "eighth"))
    return ir.serde.deserialize_model(proto)


PROJECTED = CORE.replace("q, float", "q0, float").replace("k, float", "k0, float").replace("64] v)", "64] v0)")
PROJECTED = PROJECTED.replace("[product]", "[query] q = Abs (q0) [key] k = Abs (k0) [value] v = Abs (v0) [product]")


def projected() -> ir.Model:
    return model(text=PROJECTED)


def told(found: PrecisionPlan, node: str) -> str:
    """All that the evidence says of a node."""
    return "\n".join(each.detail or "" for each in found.by_id()[f"graph/{node}"].evidence)


def plan(loaded: ir.Model, largest: dict[str, float], **options) -> PrecisionPlan:
    """The plan where tensors reach 1.0, and those of `largest` what it says."""
    names = ("q0", "k0", "v0", "q", "k", "v", "s", "t", "u", "p", "o", "y")
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
    assert is_whole(loaded, found) or "not one kernel: the product" in told(found, kept)


def test_a_core_that_no_engine_fuses_is_left_to_the_rules():
    loaded = model(cap=True)
    found = plan(loaded, {"s": 600.0})
    assert {"product", "scale"} <= fp32(found)


def test_a_core_that_nothing_splits_keeps_its_decisions():
    found = plan(model(), {})
    assert {each.rule for each in found.nodes} == {"default"}


def test_a_form_that_is_taken_has_its_price_and_that_of_the_split_as_evidence():
    found = plan(model(), {"s": 600.0})
    scores, probabilities, operands = 4 * 128 * 128, 4 * 128 * 128, 2 * 4 * 128 * 64
    split = 8 * scores + 4 * probabilities + 4 * operands
    assert told(found, "product").endswith(
        "forms of the attention core, estimated: products in fp16: one kernel, no more traffic;"
        f" as the other rules decide: split, at least 2 kernels and {split:,} bytes a batch more"
    )


def test_a_product_that_the_caller_keeps_gets_its_operands_cast_up_and_what_follows_it_is_low():
    loaded = projected()
    found = plan(loaded, {"s": 600.0, "t": 600.0, "q": 600.0}, nodes_to_exclude=("product",))
    assert is_whole(loaded, found)
    assert fp32(found) == {"product"}
    (what, split) = told(found, "scale").partition("estimated: ")[2].split("; ")
    assert what == "Q, K and V in fp16, cast up for graph/product: one kernel, no more traffic"
    assert split.startswith("as the other rules decide: split")


def test_a_member_that_overflows_is_not_made_low():
    loaded = model()
    found = plan(loaded, {"s": 1e5})
    assert fp32(found) >= {"product", "scale"}
    assert not is_whole(loaded, found)
    assert "all in bf16: not asked for (precision: [fp16, bf16])" in told(found, "product")


def test_a_core_of_which_one_product_overflows_is_bf16_as_a_whole():
    loaded = model()
    found = plan(loaded, {"s": 1e5, "t": 10.0}, range_precision=Precision.BF16, headroom=8.0)
    assert {each.precision for each in found.nodes if each.rule == "attention_core"} == {Precision.BF16}
    assert is_whole(loaded, found)
    rim = 4 * 4 * (4 * 128 * 64)
    assert f"all in bf16: one kernel, at most 4 that cast and {rim:,} bytes a batch more" in told(found, "p_v")


def test_what_keeps_a_member_from_bf16_is_said():
    loaded = model()
    found = plan(loaded, {"s": 1e5}, range_precision=Precision.BF16, headroom=8.0, nodes_to_exclude=("soften", "scale"))
    assert not is_whole(loaded, found)
    assert "all in bf16: rule node_name keeps 'graph/scale' from it" in told(found, "scale")


def test_with_upcast_attention_the_products_are_fp32_and_what_is_between_them_stays_low():
    loaded = projected()
    found = plan(loaded, {"t": 600.0}, upcast_attention=True)
    assert fp32(found) == {"product", "p_v"}
    assert {found.by_id()[f"graph/{each}"].rule for each in ("product", "p_v")} == {"upcast_attention"}
    assert is_whole(loaded, found)
