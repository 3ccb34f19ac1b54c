"""What the forms of an attention core cost: agrees with the model of fusion, and bounds what engines make of them."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from autocast_core.attention import CorePrice, attention_cores, core_price
from autocast_core.backends.tensorrt.validate import validate_model
from autocast_core.engine.view import EngineView
from autocast_core.fusion import estimated_view
from autocast_core.graph.walk import nodes_with_ids

TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16, "fp32": ir.DataType.FLOAT}
SPLIT = [("fp32", "fp32", "fp16"), ("fp16", "fp32", "fp32"), ("fp32", "fp32", "fp32")]
"""Types of Q Kᵀ, Softmax and P V that split a core."""
WHOLE = [
    ("fp16", "fp16", "fp16"),
    ("fp16", "fp32", "fp16"),
    ("fp32", "fp16", "fp16"),
    ("fp16", "fp16", "fp32"),
    ("fp32", "fp16", "fp32"),
    ("bf16", "bf16", "bf16"),
]


def core(product: str, softmax: str, p_v: str) -> onnx.ModelProto:
    """A core of 12 heads behind elementwise operators in FP16; its nodes compute in these types, between Casts.

    What reads the result is no part of the kernel that makes it: what a split costs is then the core's own.
    """

    def cast(value: str, dtype: str) -> str:
        return f"{value}{dtype} = Cast <to = {int(TYPES[dtype])}> ({value})"

    text = f"""
    <ir_version: 10, opset_import: ["" : 22]>
    main (float16[1,12,128,64] q0, float16[1,12,64,128] k0, float16[1,12,128,64] v0) => (float16[1,12,128,64] y) {{
      q = Abs (q0) k = Abs (k0) v = Abs (v0)
      {cast("q", product)} {cast("k", product)} [s] s = MatMul (q{product}, k{product})
      {narrowed("s", product, softmax)} {cast("sn", softmax)} [p] p = Softmax (sn{softmax})
      {narrowed("p", softmax, p_v)} {cast("pn", p_v)} {cast("v", p_v)} [o] o = MatMul (pn{p_v}, v{p_v})
      {cast("o", "fp16")} y = Softmax (ofp16)
    }}
    """
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text), strict_mode=True)


def narrowed(value: str, written: str, read: str) -> str:
    """The value as it crosses: in FP32 where it is both written and read so."""
    low = {written, read} - {"fp32"}
    return f"{value}n = Cast <to = {int(TYPES[min(low, default='fp32')])}> ({value})"


def price(*kinds: str) -> CorePrice:
    model = ir.serde.deserialize_model(core(*kinds))
    (found,) = attention_cores(model.graph)
    types = {f"graph/{name}": TYPES[kind] for name, kind in zip("spo", kinds, strict=True)}
    nodes = dict(nodes_with_ids(model.graph))
    return core_price(found, types, nodes, ir.DataType.FLOAT16, lambda value: math.prod(value.shape.numpy()))


def more(view: EngineView, plain: EngineView) -> tuple[int, int]:
    """The kernels and bytes of a view beyond those of another."""
    return len(view.kernels) - len(plain.kernels), view.traffic_bytes - plain.traffic_bytes


def estimated(*kinds: str) -> EngineView:
    return estimated_view(ir.serde.deserialize_model(core(*kinds)), {})


@pytest.mark.parametrize("kinds", [*SPLIT, *WHOLE], ids="-".join)
def test_as_many_kernels_as_by_the_model_of_fusion_and_no_fewer_bytes(kinds):
    found, view = price(*kinds), estimated(*kinds)
    _, moved = more(view, estimated("fp16", "fp16", "fp16"))
    of_core = [each for each in view.kernels if not {"graph/s", "graph/p", "graph/o"}.isdisjoint(each.nodes)]
    assert found.is_split == (kinds in SPLIT)
    assert len(of_core) - 1 == (found.kernels if found.is_split else 0)
    assert found.bytes >= moved


def test_the_bytes_of_a_split_are_those_of_scores_probabilities_and_what_is_cast_up():
    scores, operand = 12 * 128 * 128, 12 * 128 * 64
    assert price("fp32", "fp32", "fp16") == CorePrice(True, 2, 8 * scores + 4 * scores + 2 * 4 * operand)
    assert price("fp16", "fp32", "fp32") == CorePrice(True, 2, 4 * scores + 8 * scores + 4 * operand)
    assert price("fp32", "fp32", "fp32") == CorePrice(True, 2, 16 * scores + 3 * 4 * operand)
    assert price("bf16", "bf16", "bf16") == CorePrice(False, 4, 4 * 4 * operand)


def test_a_price_is_said_in_words():
    assert str(price("fp32", "fp16", "fp32")) == "one kernel, no more traffic"
    assert str(price("bf16", "bf16", "bf16")) == "one kernel, at most 4 that cast and 1,572,864 bytes a batch more"
    assert str(CorePrice(True, 2, None)) == "split, at least 2 kernels more"


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not here")
@pytest.mark.parametrize("kinds", [*SPLIT, *WHOLE], ids="-".join)
def test_an_engine_takes_no_less_for_a_split_and_no_more_for_a_whole_core(kinds, tmp_path: Path):
    built = []
    for number, each in enumerate((kinds, ("fp16", "fp16", "fp16"))):
        onnx.save_model(core(*each), str(tmp_path / f"{number}.onnx"))
        built.append(validate_model(tmp_path / f"{number}.onnx").engine_view)
    kernels, moved = more(*built)
    found = price(*kinds)
    assert (built[0].attention_fused == 0) == found.is_split
    if found.is_split:
        assert kernels >= found.kernels and moved >= found.bytes
    else:
        assert kernels <= found.kernels and moved <= found.bytes
