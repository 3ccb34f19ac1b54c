"""How much a rounding weighs at the outputs."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.decide.inside_kernels.sensitivity import sensitivities

MASKED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[4, 8] scores, float[4, 8] mask) => (float[4, 8] p) {
    [offset] masked = Add (scores, mask)
    [softmax] p = Softmax (masked)
}
"""


@pytest.mark.parametrize(("mask", "expected"), [(0.0, 2.0), (10_000.0, 2.0), (30.0, 32.0)])
def test_what_a_mask_hides_does_not_weigh_in_softmax(mask, expected):
    loaded = ir.serde.deserialize_model(onnx.parser.parse_model(MASKED))
    sizes = {"scores": 2.0, "mask": mask, "masked": 2.0 + mask, "p": 0.1}
    _, edges = sensitivities(list(loaded.graph), lambda value: sizes[str(value.name)])
    weights = {str(node.name): weight for (node, index), weight in edges.items() if not index}
    assert weights["softmax"] == expected
