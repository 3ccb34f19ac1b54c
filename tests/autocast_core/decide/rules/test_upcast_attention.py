"""Products of attention cores whose operands are cast up."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.config import ConversionConfig, Precision
from autocast_core.decide.rules.upcast_attention import UPCAST_ATTENTION

CORE = """
g (float[1, 4, 128, SIZE] q, float[1, 4, SIZE, 128] k, float[1, 4, 128, SIZE] v) => (float[1, 4, 128, SIZE] y) {
  [qk] s = MatMul (q, k) [soften] p = Softmax (s) [pv] o = MatMul (p, v) [behind] y = MatMul (o, k)
}
"""


def kept(loaded: ir.Model, facts, **options) -> list[str]:
    rule = UPCAST_ATTENTION.build(loaded, ConversionConfig(**options))
    nodes = [] if rule is None else list(loaded.graph)
    return [str(node.name) for node in nodes if rule.check(facts(node=node)) is not None]


def test_the_products_of_a_core_are_kept_where_that_is_asked_for(model, facts):
    loaded = model(CORE.replace("SIZE", "128"))
    assert kept(loaded, facts, upcast_attention=True) == ["qk", "pv"]
    assert kept(loaded, facts) == []


def test_bf16_adds_up_in_fp32_anyway(model, facts):
    assert kept(model(CORE.replace("SIZE", "128")), facts, upcast_attention=True, precision=Precision.BF16) == []


def test_a_core_that_is_never_one_kernel_is_left_alone(model, facts):
    text = CORE.replace("SIZE", "320").replace("[behind] y = MatMul (o, k)", "[behind] y = Relu (o)")
    assert kept(model(text), facts, upcast_attention=True) == []
