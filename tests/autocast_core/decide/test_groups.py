"""Which QuantizeLinear and DequantizeLinear nodes share a scale."""

from __future__ import annotations

import pytest

from autocast_core.decide.groups import quantization_pairs
from autocast_core.graph.walk import nodes_with_ids


@pytest.mark.parametrize(
    "between",
    [
        "r = Reshape(q, shape)",
        "r = Expand(q, shape)",
        "r = DepthToSpace<blocksize = 2>(q)",
        "t = Transpose(q) r = GatherElements(t, places)",
        "r = MaxPool<kernel_shape = [1, 1]>(q)",
        "r = ReduceMax(q)",
    ],
)
def test_a_pair_is_found_through_what_keeps_quantized_elements(model, between):
    text = f"""g (float[1,4,2,2] x) => (y) <float s = {{0.1}}, int8 z = {{0}}, int64[4] shape = {{1, 4, 2, 2}},
            int64[1,1,1,1] places = {{0}}> {{
      [quantize] q = QuantizeLinear(x, s, z) {between} [dequantize] y = DequantizeLinear(r, s, z)
    }}"""
    (pair,) = quantization_pairs(dict(nodes_with_ids(model(text).graph)))
    assert pair.nodes == {"graph/quantize", "graph/dequantize"}
    assert pair.relation == "quantizes 'q' with the scale of"


def test_a_computation_parts_a_quantizer_from_what_reads_it(model):
    text = """g (float[2] x) => (y) <float s = {0.1}, int8 z = {0}> {
      q = QuantizeLinear(x, s, z) r = Add(q, q) y = DequantizeLinear(r, s, z)
    }"""
    assert quantization_pairs(dict(nodes_with_ids(model(text).graph))) == []
