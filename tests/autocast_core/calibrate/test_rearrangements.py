"""Tensors that rearrange others share their statistics."""

from __future__ import annotations

import onnx_ir as ir

from autocast_core.calibrate.rearrangements import rearrangements


def test_a_tensor_is_a_view_through_what_rearranges_and_none_through_what_selects():
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["" : 18]>
    g (float[2,4] x, int64[2] lengths, int64[1] first) => (float[1,2] y)
    <float[2,4] r, float[4,2] t> {
      r = ReverseSequence<batch_axis = 0, time_axis = 1>(x, lengths) t = Transpose(r)
      y = Gather(t, first)
    }""")
    assert {view.name: source.name for view, source in rearrangements(model.graph).items()} == {"r": "x", "t": "x"}
