"""Which forms of attention become one kernel: the table that was measured, and plans."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from autocast_core.attention import AttentionCore, attention_cores, fusion_obstacles
from autocast_core.backends.tensorrt.validate import validate_model
from tests.autocast_core.attention.forms import FORMS, Form

FP32, FP16, BF16 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16
_PROJECTED = "q = Abs(q0) k = Abs(k0) v = Abs(v0)"
FRONT = f"{_PROJECTED} qs = Mul(q, one) a = MatMul(qs, k) c = Add(a, m) p = Softmax(c) o = MatMul(p, v) y = Abs(o)"
BEHIND = f"{_PROJECTED} a = MatMul(q, k) b = Mul(a, one) p = Softmax(b) o = MatMul(p, v) y = Abs(o)"


def core_of(form: Form) -> AttentionCore:
    (core,) = attention_cores(ir.serde.deserialize_model(form.model()).graph)
    return core


def kinds_of_plan(nodes: str, *fp32: str) -> list[str]:
    """The obstacles in an FP32 graph where the named nodes are to compute in FP32 and all others in FP16."""
    inputs = "float[1,12,128,64] q0, float[1,12,64,128] k0, float[1,12,128,64] v0, float[1,1,128,128] m"
    form = Form(nodes, True, inputs, "float[1,12,128,64] y", "float[1] one = {1.0}")
    types = {
        f"graph/{name}": FP32 if name in fp32 else FP16 for name in ("q", "k", "v", "qs", "a", "b", "c", "p", "o", "y")
    }
    return [obstacle.kind for obstacle in fusion_obstacles(core_of(form), types)]


@pytest.mark.parametrize("name", FORMS)
def test_a_form_has_an_obstacle_where_the_engine_does_not_make_one_kernel_of_it(name):
    form = FORMS[name]
    assert (not fusion_obstacles(core_of(form))) == form.fused


@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in FORMS])
def test_the_engine_makes_of_each_form_what_the_table_says(name, tmp_path: Path):
    onnx.save_model(FORMS[name].model(), str(tmp_path / "m.onnx"))
    view = validate_model(tmp_path / "m.onnx").engine_view
    assert (view is not None and view.attention_fused == 1) == FORMS[name].fused


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("qk + softmax fp32 in a row", "fp32_product"),
        ("fp16 qk+softmax, bf16 pv", "two_low_types"),
        ("head 320 v 64", "head_size"),
        ("v head size differs (32)", "value_head_size"),
        ("rank 3 batch 1", "single_matrix"),
        ("softcap fp32", "softcap"),
        ("probabilities are output", "read_elsewhere"),
        ("one query", "single_query"),
        ("one key", "single_query"),
        ("one head of k for all", "broadcast"),
        ("one head of k and v for all, scale behind", "broadcast"),
        ("transposed axis -2", "transposed"),
        ("einsum, k on the left", "transposed"),
    ],
)
def test_the_obstacle_says_what_it_is(name, kind):
    assert [obstacle.kind for obstacle in fusion_obstacles(core_of(FORMS[name]))] == [kind]


def test_a_product_in_fp32_is_named_with_what_is_fp32_beside_it():
    (obstacle,) = fusion_obstacles(core_of(FORMS["qk + mask fp32, scale front"]))
    assert obstacle.nodes == ("graph/a", "graph/d")
    assert obstacle.detail == "the product 'graph/a' computes in FP32 next to 'graph/d' in FP32"


@pytest.mark.parametrize(
    ("nodes", "fp32", "kinds"),
    [
        (FRONT, (), []),
        (FRONT, ("c", "p"), []),
        (FRONT, ("qs", "c", "p"), []),
        (FRONT, ("a",), []),
        (FRONT, ("a", "o"), []),
        (FRONT, ("q", "k", "qs", "c", "p", "v", "y"), []),
        (FRONT, ("qs", "a"), ["fp32_product"]),
        (FRONT, ("a", "c"), ["fp32_product"]),
        (FRONT, ("k", "a"), ["fp32_product"]),
        (FRONT, ("p", "o"), ["fp32_product"]),
        (FRONT, ("v", "o"), ["fp32_product"]),
        (FRONT, ("o", "y"), ["fp32_product"]),
        (FRONT, ("q", "k", "v", "qs", "a", "c", "p", "o", "y"), ["all_fp32"]),
        (FRONT, ("qs", "a", "c", "p", "o"), ["all_fp32"]),
        (BEHIND, ("b", "p"), []),
        (BEHIND, ("a", "b"), ["fp32_product"]),
    ],
)
def test_a_plan_is_judged_by_the_types_that_it_gives(nodes, fp32, kinds):
    assert kinds_of_plan(nodes, *fp32) == kinds


def test_types_of_two_products_must_be_the_same():
    form = FORMS["dropout"]
    types = {"graph/a": FP16, "graph/b": FP32, "graph/p": FP32, "graph/y": BF16}
    assert [each.kind for each in fusion_obstacles(core_of(form), types)] == ["two_low_types"]
