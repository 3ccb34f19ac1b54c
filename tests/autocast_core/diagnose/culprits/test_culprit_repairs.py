"""The repair that fixes a culprit, where the converter has one."""

import numpy as np
import onnx
import pytest

from autocast_core.diagnose import Culprit, Kind
from autocast_core.diagnose.culprits.clamped_masks import MaskNumbers, mask_numbers
from tests.autocast_core.diagnose.diagnosed import diagnosed, model, normal, whole_fp16

LOW = float(np.finfo(np.float32).min)
MASKED = model(
    "m = Where(keep, zero, low)\ns = Add(x, m)\np = Softmax <axis = -1> (s)\ny = MatMul(p, w)",
    "(float[N, 8] x, bool[N, 8] keep) => (float[N, 8] y)",
    f"float zero = {{0}}, float low = {{{LOW}}}, float[8, 8] w = {{{', '.join(map(str, range(64)))}}}",
)


def _first(reference: onnx.ModelProto, candidate: onnx.ModelProto, data: dict[str, np.ndarray]) -> Culprit:
    return diagnosed(reference, candidate, data).culprits[0]


def _with_mask(number: float) -> onnx.ModelProto:
    low = whole_fp16(MASKED)
    tensor = next(each for each in low.graph.initializer if each.name == "low")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([number], np.float16), "low"))
    return low


@pytest.fixture
def masked_rows() -> dict[str, np.ndarray]:
    keep = np.ones((8, 8), bool)
    keep[1:4] = False
    keep[4:, 5:] = False
    return {"x": normal(8, 8, scale=60.0), "keep": keep}


def test_scores_that_overflow_before_their_scale_are_fixed_by_moving_it():
    attention = model(
        "a = MatMul(q, k)\ns = Mul(a, c)\ny = Softmax <axis = -1> (s)",
        "(float[N, 4, 64] q, float[N, 64, 4] k) => (float[N, 4, 4] y)",
        "float c = {0.00006103515625}",
    )
    data = {"q": normal(4, 4, 64, scale=200.0), "k": normal(4, 64, 4, seed=1, scale=200.0)}
    first = _first(attention, whole_fp16(attention), data)
    assert (first.kind, first.remedy.repair) == (Kind.OVERFLOW, "attention_scale")
    assert dict(first.remedy.options) == {"repair_ranges": True}
    assert first.remedy.fp32_nodes[0] == first.reference_nodes[0].removeprefix("graph/")


def test_a_residual_stream_that_overflows_is_fixed_by_carrying_it_in_smaller_numbers():
    stream = model(
        "a = Mul(x, k)\nb = Mul(z, k)\nr = Add(a, b)\nq = Mul(r, h)\ns = Add(r, q)\n"
        "y = LayerNormalization <axis = -1> (s, w)",
        "(float[N, 64] x, float[N, 64] z) => (float[N, 64] y)",
        f"float k = {{30000}}, float h = {{0.5}}, float[64] w = {{{', '.join(['1'] * 64)}}}",
    )
    data = {"x": np.abs(normal(8, 64)).clip(0.2, 1.9), "z": np.abs(normal(8, 64, seed=1)).clip(0.2, 1.9)}
    first = _first(stream, whole_fp16(stream), data)
    assert (first.kind, first.remedy.repair) == (Kind.OVERFLOW, "residual_scale")


def test_an_overflow_that_no_repair_fixes_keeps_its_nodes_in_fp32():
    plain = model("a = Mul(x, k)\ny = Div(a, k)", "(float[N, 8] x) => (float[N, 8] y)", "float k = {90000}")
    remedy = _first(plain, whole_fp16(plain), {"x": normal(8, 8)}).remedy
    assert remedy.repair is None
    assert "nodes_to_exclude" in remedy.options


def test_a_clamped_mask_that_changes_masked_rows_is_a_mask(masked_rows):
    first = _first(MASKED, _with_mask(-30000.0), masked_rows)
    assert (first.kind, first.remedy.repair) == (Kind.MASK, "masked_rows")
    assert first.explanation.startswith("the candidate does not have the mask's -3.403e+38")


def test_a_mask_that_becomes_infinite_is_fixed_by_clamping_it(masked_rows):
    first = _first(MASKED, _with_mask(-np.inf), masked_rows)
    assert (first.kind, first.remedy.repair) == (Kind.OVERFLOW, "clamp_masks")


def test_a_clamped_mask_that_changes_nothing_is_not_named_before_the_fault():
    reference = model(
        "m = Where(keep, zero, low)\ns = Add(x, m)\np = Softmax <axis = -1> (s)\na = Mul(p, k)\nb = Mul(a, k)\n"
        "c = Div(b, k)\ny = Div(c, k)",
        "(float[N, 8] x, bool[N, 8] keep) => (float[N, 8] y)",
        f"float zero = {{0}}, float low = {{{LOW}}}, float k = {{1000}}",
    )
    low = whole_fp16(reference)
    tensor = next(each for each in low.graph.initializer if each.name == "low")
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([-30000.0], np.float16), "low"))
    keep = np.ones((8, 8), bool)
    keep[:, 6:] = False
    first = _first(reference, low, {"x": normal(8, 8), "keep": keep})
    assert (first.kind, first.reference_value) == (Kind.OVERFLOW, "b")


def test_the_numbers_of_a_mask_are_told_from_activations():
    mask = np.array([0.0, LOW, 0.0, LOW], np.float32)
    assert mask_numbers(mask, np.array([0, -3e4, 0, -3e4], np.float32)) == MaskNumbers(LOW, -3e4)
    assert mask_numbers(mask, mask) is None
    assert mask_numbers(mask, np.zeros(4, np.float32)) is None
    activations = np.array([1e5, -1e5, -2e5, 3.0], np.float32)
    assert mask_numbers(activations, np.clip(activations, -65504, 65504)) is None
