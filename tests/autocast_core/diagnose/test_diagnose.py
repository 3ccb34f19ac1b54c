"""Two models that mean the same: where and why one gives other numbers."""

import numpy as np
import onnx
import pytest

from autocast_core.diagnose import Kind
from autocast_core.errors import ConfigError, ModelError
from tests.autocast_core.diagnose.diagnosed import batches_of, diagnosed, model, normal, whole_fp16

IO = "(float[N, 16] x) => (float[N, 16] y)"
OVERFLOWS = model("a = Mul(x, k)\nb = Mul(a, a)\nc = Div(a, b)\nd = Mul(c, k)\ny = Add(d, x)", IO, "float k = {500.0}")
DATA = {"x": np.abs(normal(8, 16)) + 0.6}


def test_a_model_does_not_diverge_from_itself():
    found = diagnosed(OVERFLOWS, OVERFLOWS, DATA)
    assert not found.diverges
    assert found.culprits == ()
    assert {each.distance.rel_l2 for each in found.tensors} == {0.0}


def test_a_swallowed_overflow_is_named_where_it_begins_and_where_it_is_swallowed():
    found = diagnosed(OVERFLOWS, whole_fp16(OVERFLOWS), DATA)
    assert found.diverges
    assert found.culprits[0].kind is Kind.OVERFLOW
    assert found.culprits[0].reference_value == "b"
    assert found.culprits[0].effect > 0.99
    assert [each.candidate_value for each in found.swallowed] == ["c"]
    assert (found.begins[0].fault, found.begins[0].candidate_value) == (Kind.OVERFLOW, "b")


def test_the_remedy_keeps_the_overflowing_node_and_its_readers_in_fp32():
    culprit = diagnosed(OVERFLOWS, whole_fp16(OVERFLOWS), DATA).culprits[0]
    assert culprit.reference_nodes == ("graph/Mul_2",)
    assert [name.replace("\\", "") for name in culprit.remedy.options["nodes_to_exclude"]] == ["^Mul_2$", "^Div_2$"]


def test_the_inputs_recorded_at_a_culprit_show_the_fault_alone():
    recorded = diagnosed(OVERFLOWS, whole_fp16(OVERFLOWS), DATA).culprits[0].recorded
    (value,) = recorded.inputs.values()
    np.testing.assert_allclose(recorded.expected, value * value)
    assert np.isinf(recorded.found).any()


def test_the_difference_of_nearly_equal_numbers_is_a_cancellation():
    source = model("a = Add(x, k)\nb = Sub(a, k)\ny = Tanh(b)", IO, "float k = {900.0}")
    first = diagnosed(source, whole_fp16(source), DATA).culprits[0]
    assert (first.kind, first.reference_value) == (Kind.CANCELLATION, "b")
    assert first.own < 1e-3 < 0.1 < first.amplified


def test_values_below_the_range_of_fp16_are_an_underflow():
    source = model(
        "a = Mul(x, k)\nb = Mul(a, k)\nc = Mul(b, h)\nd = Mul(c, h)\ny = Add(d, x)",
        IO,
        "float k = {0.0001}, float h = {10000.0}",
    )
    first = diagnosed(source, whole_fp16(source), DATA).culprits[0]
    assert (first.kind, first.reference_value) == (Kind.UNDERFLOW, "b")


def test_a_guard_that_becomes_zero_is_an_underflow_of_the_guard():
    source = model("r = Relu(x)\nq = Add(r, e)\nd = Div(r, q)\ny = Add(d, x)", IO, "float e = {1e-9}")
    first = diagnosed(source, whole_fp16(source), {"x": normal(8, 16)}).culprits[0]
    assert (first.kind, first.reference_value) == (Kind.UNDERFLOW, "q")


def test_another_axis_is_a_difference_and_no_matter_of_precision():
    source = model("a = Mul(x, x)\ns = Softmax <axis = -1> (a)\ny = Add(s, x)", IO)
    other = model("a = Mul(x, x)\ns = Softmax <axis = 0> (a)\ny = Add(s, x)", IO)
    first = diagnosed(source, other, DATA).culprits[0]
    assert (first.kind, first.candidate_value) == (Kind.DIFFERENCE, "s")
    assert "axis=0" in first.explanation and "axis=-1" in first.explanation
    assert not first.remedy.options


def test_an_operand_that_the_candidate_does_not_read_is_named():
    io = "(float[N, 16] x, float[N, 16] mask) => (float[N, 16] y)"
    source = model("m = Add(x, mask)\ns = Softmax(m)\ny = Mul(s, x)", io)
    other = model("s = Softmax(x)\ny = Mul(s, x)\nunused = Identity(mask)", io)
    first = diagnosed(source, other, {"x": DATA["x"], "mask": normal(8, 16, seed=1)}).culprits[0]
    assert (first.kind, first.candidate_value) == (Kind.DIFFERENCE, "s")
    assert "mask" in first.explanation
    assert set(first.reference_nodes) == {"graph/Add_1", "graph/Softmax_1"}


def test_a_cast_to_integers_and_back_is_named():
    source = model("a = Mul(x, x)\ny = Tanh(a)", IO)
    other = model("a = Mul(x, x)\ni = Cast <to = 6> (a)\nf = Cast <to = 1> (i)\ny = Tanh(f)", IO)
    first = diagnosed(source, other, DATA).culprits[0]
    assert (first.kind, first.candidate_value) == (Kind.CAST, "i")


def test_renamed_models_are_matched_by_structure():
    other = model(
        "p = Mul(input, w)\nq = Mul(p, p)\nr = Div(p, q)\ns = Mul(r, w)\nout = Add(s, input)",
        "(float[N, 16] input) => (float[N, 16] out)",
        "float w = {500.0}",
    )
    found = diagnosed(OVERFLOWS, whole_fp16(other), DATA, mapped={"x": "input"})
    assert found.culprits[0].reference_value == "b"
    assert found.culprits[0].candidate_value == "q"
    assert found.unmatched_candidate == found.unmatched_reference == ()


def test_fused_and_renamed_nodes_are_matched_by_numbers():
    body = "m = ReduceMean <axes = [-1]> (a)\nd = Sub(a, m)\ns = Mul(d, d)\nv = ReduceMean <axes = [-1]> (s)\n"
    source = model(
        f"a = Mul(x, x)\n{body}e = Add(v, eps)\nq = Sqrt(e)\nn = Div(d, q)\nt = Mul(n, k)\nu = Mul(t, k)\ny = Tanh(u)",
        IO,
        "float k = {300.0}, float eps = {1e-5}",
    )
    other = model(
        "h1 = Mul(x, x)\nh2 = LayerNormalization <axis = -1, epsilon = 1e-5> (h1, one)\nh3 = Mul(h2, w)\n"
        "h4 = Mul(h3, w)\ny = Sigmoid(h4)",
        IO,
        "float[16] one = {1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}, float w = {300.0}",
    )
    found = diagnosed(source, other, DATA)
    by_numbers = {each.candidate: each.reference for each in found.tensors if each.matched_by == "numbers"}
    assert by_numbers["h2"] == "n"
    assert found.culprits[0].candidate_value == "y"
    assert found.passes == 2


def test_the_data_is_read_at_most_three_times():
    class Counted:
        def __init__(self, batches):
            self.batches, self.reads = batches, 0
            self.origin, self.digest, self.labels = batches.origin, batches.digest, None

        def __len__(self):
            return len(self.batches)

        def __iter__(self):
            self.reads += 1
            return iter(self.batches)

    counted = Counted(batches_of(OVERFLOWS, DATA))
    found = diagnosed(OVERFLOWS, whole_fp16(OVERFLOWS), batches=counted)
    assert counted.reads <= 3 and counted.reads <= found.passes <= 3


def test_random_data_is_said():
    assert diagnosed(OVERFLOWS, OVERFLOWS).data == "random"


def test_models_with_other_inputs_are_refused_with_the_map_that_pairs_them():
    other = model("y = Relu(input)", "(float[N, 16] input) => (float[N, 16] y)")
    with pytest.raises(ModelError, match=r"only the reference has x .*only the candidate has input.*--map x=input"):
        diagnosed(OVERFLOWS, other, DATA)


def test_models_whose_inputs_have_other_shapes_are_refused():
    other = model("y = Relu(x)", "(float[N, 15] x) => (float[N, 15] y)")
    with pytest.raises(ModelError, match=r"input x float \[N, 16\] of the reference is x float \[N, 15\]"):
        diagnosed(OVERFLOWS, other, DATA)


def test_infinity_that_is_harmless_by_itself_does_not_hide_another_fault():
    io = "(float[N, 8, 8] x, float[N, 1, 8] mask) => (float[N, 8, 8] y)"
    body = "m = Mul(mask, big)\na = Add(x, m)\ns = Softmax <axis = {axis}> (a)\ny = MatMul(s, x)"
    source, other = (model(body.format(axis=axis), io, "float big = {-1e9}") for axis in (-1, 1))
    data = {"x": normal(4, 8, 8), "mask": np.tile(np.arange(8) > 5, (4, 1, 1)).astype(np.float32)}
    found = diagnosed(source, whole_fp16(other), data)
    assert found.culprits[0].reference_value == "s"
    assert found.culprits[0].kind is Kind.DIFFERENCE


def test_a_map_of_a_tensor_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="the candidate has no tensor 'z'"):
        diagnosed(OVERFLOWS, OVERFLOWS, DATA, mapped={"b": "z"})


def test_models_without_a_common_tensor_are_told_what_was_tried():
    other = model("y = Cast <to = 8> (x)", "(float[N, 16] x) => (string[N, 16] y)")
    with pytest.raises(ModelError, match="tried names, operators"):
        diagnosed(OVERFLOWS, other, DATA)


def test_json_holds_neither_arrays_nor_infinity():
    import json

    text = json.dumps(diagnosed(OVERFLOWS, whole_fp16(OVERFLOWS), DATA).to_json(), allow_nan=False)
    assert '"kind": "overflow"' in text


def test_neither_model_is_changed():
    before = OVERFLOWS.SerializeToString(deterministic=True)
    diagnosed(OVERFLOWS, OVERFLOWS, DATA)
    assert OVERFLOWS.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(whole_fp16(OVERFLOWS))
