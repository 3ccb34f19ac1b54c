"""How much a rounding weighs at the outputs."""

from __future__ import annotations

import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.config import Precision
from autocast_core.decide.inside_kernels.sensitivity import ValueSizes, constant_weights, sensitivities

MASKED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[4, 8] scores, float[4, 8] mask) => (float[4, 8] p) {
    [offset] masked = Add (scores, mask)
    [softmax] p = Softmax (masked)
}
"""


def model_of(text: str) -> ir.Model:
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


@pytest.mark.parametrize(("mask", "expected"), [(0.0, 2.0), (10_000.0, 2.0), (30.0, 32.0)])
def test_what_a_mask_hides_does_not_weigh_in_softmax(mask, expected):
    loaded = model_of(MASKED)
    sizes = {"scores": 2.0, "mask": mask, "masked": 2.0 + mask, "p": 0.1}
    _, edges = sensitivities(list(loaded.graph), ValueSizes(lambda value: sizes[str(value.name)]))
    weights = {str(node.name): weight for (node, index), weight in edges.items() if not index}
    assert weights["softmax"] == expected


ROLLED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[8, 4] x) => (float[8, 4] y) <int64[1] none = {0}, int64[1] three = {3}, int64[1] eight = {8}> {
    [low] first = Slice (x, none, three)
    [high] second = Slice (x, three, eight)
    [roll] y = Concat <axis = 0> (second, first)
}
"""


def test_what_is_cut_up_and_put_together_again_weighs_once():
    loaded = model_of(ROLLED)
    elements = {"x": 32, "first": 12, "second": 20, "y": 32}
    values, _ = sensitivities(list(loaded.graph), ValueSizes(lambda _: 1.0, lambda value: elements[str(value.name)]))
    assert values[loaded.graph.inputs[0]] == pytest.approx(1.0)


NORMED = """
<ir_version: 10, opset_import: ["" : 22]>
main (float[4, 8] x) => (float[1, 8] y) <float[8] gain = {GAINS}, float[8] shift = {SHIFTS}, int64[1] rows = {0}> {
    [norm] z = LayerNormalization (x, gain, shift)
    [pool] y = ReduceMean (z, rows)
}
"""


@pytest.mark.parametrize(
    ("gain", "shift", "expected"),
    [(1.1, 0.0, 1.0), (1.0, 0.1, 0.01), (1.1, 0.1, 1.01), (1.0, 0.5, 0.0)],
)
def test_rounded_constants_weigh_by_what_they_add_and_no_mean_averages_them_out(gain, shift, expected):
    text = NORMED.replace("GAINS", ", ".join([str(gain)] * 8)).replace("SHIFTS", ", ".join([str(shift)] * 8))
    loaded = model_of(text)
    found = constant_weights(list(loaded.graph), ValueSizes(lambda _: 1.0), Precision.FP16)
    assert sum(found.values()) == pytest.approx(expected, rel=1e-6)
