"""Nodes that amplify the rounding of what they read."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, PrecisionPlan
from autocast_core.pipeline.convert import convert_in_memory
from autocast_core.pipeline.job import Job

SUB = "g (float[4] x) => (float[4] y) <float zero = {293.15}> { [before] a = Neg(x) [subtract] y = Add(a, zero) }"


def kept(plan, text: str, ranges: dict, **options) -> set[str]:
    found = plan(text, ranges, data_max=1e4, **options).nodes
    return {each.id.removeprefix("graph/") for each in found if each.rule == "conditioning"}


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("largest", "keeps"), [(2.0, True), (293.0, False)])
def test_a_difference_that_cancels_is_kept_with_what_feeds_it(plan, largest, keeps, precision):
    ranges = {"x": (290.0, 295.0), "a": (-295.0, -290.0), "y": (-largest, largest)}
    expected = {"before", "subtract"} if keeps else set()
    assert kept(plan, SUB, ranges, precision=precision, opset=22) == expected


def test_the_reason_names_the_operator_the_tensor_and_the_factor(plan):
    found = plan(SUB, {"a": (-290.0, -280.0), "y": (-2.0, 2.0)}).by_id()["graph/before"]
    assert found.reason == "Add 'subtract' multiplies the relative rounding error of 'a' by 613, over 13.9"
    assert found.evidence[0].tensor == "a" and found.evidence[0].limit == pytest.approx(2.0**3.8)


def test_operands_that_the_low_type_holds_are_exempt(plan):
    text = """g (int64[4] i) => (float[4] y) <float one = {1000}> {
      x = Cast<to = 1>(i) [subtract] y = Sub(x, one) }"""
    ranges = {"x": (990.0, 1010.0), "y": (-10.0, 10.0)}
    assert kept(plan, text, ranges) == set()
    assert kept(plan, text, {"x": (2990.0, 3010.0), "y": (-10.0, 10.0)}) == set()  # by whole_numbers


@pytest.mark.parametrize(
    ("node", "x", "y", "keeps"),
    [
        ("Log(x)", (0.99, 1.01), (-0.01, 0.01), True),
        ("Log(x)", (0.5, 3.0), (-0.69, 1.1), False),
        ("Exp(x)", (-20.0, 1.0), (0.0, 2.7), False),
        ("Exp(x)", (0.0, 30.0), (1.0, 1e3), True),
        ("Pow(x, twenty)", (0.9, 1.1), (0.1, 6.7), True),
        ("Pow(x, two)", (0.9, 1.1), (0.8, 1.2), False),
        ("Mod<fmod = 1>(x, two)", (0.0, 500.0), (0.0, 2.0), True),
        ("Mod<fmod = 1>(x, two)", (0.0, 3.0), (0.0, 2.0), False),
        ("Sqrt(x)", (0.0, 1e-3), (0.0, 0.03), False),
        ("Acos(x)", (0.9, 1.0), (0.0, 0.2), True),
        ("Acos(x)", (-1.0, 1.0), (0.0, 3.14), False),
        ("Softmax(x)", (20.0, 30.0), (0.0, 0.9), True),
        ("Softmax(x)", (-30.0, 30.0), (0.0, 0.9), False),
        ("LayerNormalization(x, ones)", (299.0, 301.0), (-2.0, 2.0), True),
        ("LayerNormalization(x, ones)", (-3.0, 30.0), (-2.0, 2.0), False),
    ],
)
def test_which_operators_amplify(plan, node, x, y, keeps):
    text = f"""g (float[4] x) => (float[4] y)
      <float two = {{2}}, float twenty = {{20}}, float[4] ones = {{1, 1, 1, 1}}> {{ [n] y = {node} }}"""
    assert kept(plan, text, {"x": x, "y": y}) == ({"n"} if keeps else set())


@pytest.mark.parametrize(("angle", "keeps"), [(50.0, True), (12.0, False)])
def test_large_angles_are_kept_with_what_feeds_them(plan, angle, keeps):
    text = """g (float[8] x) => (float[8] y) <float turn = {6.28}> {
      [softplus] c = Softplus(x) [phase] p = Mul(c, turn) [sine] y = Sin(p) }"""
    ranges = {"x": (0.0, 1.0), "c": (0.0, 8.0), "p": (0.0, angle), "y": (-1.0, 1.0)}
    assert kept(plan, text, ranges) == ({"softplus", "phase", "sine"} if keeps else set())


@pytest.mark.parametrize(("size", "keeps"), [(512, True), (64, False)])
def test_coordinates_of_a_large_image_are_kept(plan, size, keeps):
    text = f"""g (float[1, 1, {size}, {size}] x, float[1, 8, 8, 2] grid) => (float[1, 1, 8, 8] y) {{
      [sample] y = GridSample(x, grid) }}"""
    ranges = {"x": (-1.0, 1.0), "grid": (-1.0, 1.0), "y": (-1.0, 1.0)}
    assert kept(plan, text, ranges, opset=20) == ({"sample"} if keeps else set())


def test_boxes_in_pixels_are_kept(plan):
    text = """g (float[1, 1, 64, 64] x, float[1, 4] boxes, int64[1] i) => (float[1, 1, 1, 1] y) {
      [align] y = RoiAlign<spatial_scale = 0.25>(x, boxes, i) }"""
    ranges = {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}
    assert kept(plan, text, {**ranges, "boxes": (0.0, 640.0)}) == {"align"}
    assert kept(plan, text, {**ranges, "boxes": (0.0, 200.0)}) == set()


def test_three_computing_nodes_are_kept_behind_an_operand_and_none_behind_them(plan):
    text = """g (float[1, 4] w) => (float[4] y) <float one = {1}, float half = {0.5}, int64[1] s = {4}> {
      [fifth] x = Tanh(w) [fourth] a = Tanh(x) [third] b = Tanh(a) [second] c = Sigmoid(b) [scale] d = Mul(c, half)
      [shape] e = Reshape(d, s) [first] f = Sqrt(e) [subtract] y = Sub(f, one) }"""
    ranges = dict.fromkeys("wxabcdef", (0.9, 1.1)) | {"y": (-0.01, 0.01)}
    assert kept(plan, text, ranges) == {"third", "second", "scale", "shape", "first", "subtract"}


def test_a_fourth_computing_node_is_kept_where_nothing_is_left_behind_it(plan):
    text = """g (float[4] x) => (float[4] y) <float one = {1}> {
      [fourth] a = Tanh(x) [third] b = Tanh(a) [second] c = Sigmoid(b) [first] f = Sqrt(c)
      [subtract] y = Sub(f, one) }"""
    ranges = dict.fromkeys("xabcf", (0.9, 1.1)) | {"y": (-0.01, 0.01)}
    assert kept(plan, text, ranges) == {"fourth", "third", "second", "first", "subtract"}


def test_nothing_is_kept_without_data_or_where_the_result_is_zero_or_not_finite(plan):
    assert {each.rule for each in plan(SUB).nodes} == {"default"}
    for y in ((0.0, 0.0), (-float("inf"), 1.0)):
        assert kept(plan, SUB, {"a": (-290.0, -280.0), "y": y}) == set()


CHOICE = "g (float[1, 8] x) => (int64[1, 1] y) { [before] s = %s(x) [choose] y = ArgMax<axis = 1>(s) }"


@pytest.mark.parametrize(
    ("before", "s", "expected"),
    [
        ("Neg", (99.9, 100.1), {"before", "choose"}),
        ("Neg", (-5.0, 5.0), set()),
        ("Sigmoid", (0.1, 0.9999), {"before", "choose"}),
        ("Sigmoid", (0.1, 0.95), set()),
        ("Tanh", (0.1, 0.9999), set()),
    ],
)
def test_what_a_choice_compares_is_kept_where_rounding_makes_ties(plan, before, s, expected):
    assert kept(plan, CHOICE % before, {"x": (-10.0, 10.0), "s": s}) == expected


def test_only_the_sigmoid_is_kept_before_a_choice_among_probabilities(plan):
    text = """g (float[1, 8] x, float[1, 4, 4] boxes) => (int64[n, 3] y) <int64[3] shape = {1, 2, 4}> {
      [before] w = Tanh(x) [scores] a = Tanh(w) [sigmoid] s = Sigmoid(a) [shape] t = Reshape(s, shape)
      [select] y = NonMaxSuppression(boxes, t) }"""
    ranges = {"x": (-10.0, 10.0), "a": (-10.0, 10.0), "s": (0.1, 0.9999), "t": (0.1, 0.9999), "boxes": (0.0, 1.0)}
    assert kept(plan, text, ranges) == {"sigmoid", "shape"}


@pytest.mark.parametrize(("mean", "keeps"), [(300.0, True), (0.0, False)])
@pytest.mark.parametrize(
    "node",
    [
        "y = MatMul(x, differences)",
        "y = Gemm(x, differences)",
        "image = Reshape(x, shape) y = Conv(image, filter)",
        "y = BatchNormalization(x, ones, zeros, means, ones)",
    ],
)
def test_sums_of_products_that_cancel_are_kept(node, mean, keeps):
    """Filters that take differences, and a normalisation of raw measurements, on numbers far from zero."""
    text = f"""<ir_version: 8, opset_import: ["": 17]> g (float[N, 8] x) => (y)
      <float[8, 1] differences = {{1, -1, 1, -1, 1, -1, 1, -1}}, int64[4] shape = {{-1, 1, 1, 8}},
       float[1, 1, 1, 2] filter = {{1, -1}}, float[8] ones = {{1, 1, 1, 1, 1, 1, 1, 1}},
       float[8] zeros = {{0, 0, 0, 0, 0, 0, 0, 0}},
       float[8] means = {{{", ".join([str(mean)] * 8)}}}> {{ {node} }}"""
    data = {"x": np.random.default_rng(0).normal(mean, 1.0, (16, 8)).astype(np.float32)}
    made = convert_in_memory(Job(onnx.parser.parse_model(text), ConversionConfig(), data))
    rules = {each.rule for each in made[PrecisionPlan].nodes}
    assert ("conditioning" in rules) == keeps


@pytest.mark.parametrize(("largest", "keeps"), [(100.0, True), (8.0, False)])
def test_offsets_of_many_pixels_are_kept(plan, largest, keeps):
    text = """g (float[1, 1, 64, 64] x, float[1, 1, 1, 1] w, float[1, 2, 64, 64] at) => (float[1, 1, 64, 64] y) {
      [deform] y = DeformConv(x, w, at) }"""
    ranges = {"x": (-1.0, 1.0), "at": (-largest, largest), "y": (-1.0, 1.0)}
    assert kept(plan, text, ranges, opset=19) == ({"deform"} if keeps else set())


@pytest.mark.parametrize(("mean", "keeps"), [(5.0, True), (0.0, False)])
@pytest.mark.parametrize("reduction", ["ReduceMean", "ReduceSum"])
def test_a_sum_of_what_nearly_cancels_is_kept(reduction, mean, keeps):
    text = f"""<ir_version: 8, opset_import: ["": 13]> g (float[N, 64] x) => (y) <int64[1] axes = {{1}}> {{
      s = Concat<axis = 1>(x, x) n = Neg(s) [all] c = Concat<axis = 1>(s, n, x)
      [sum] y = {reduction}{"(c, axes)" if reduction == "ReduceSum" else "<axes = [1]>(c)"} }}"""
    x = np.random.default_rng(0).normal(0.0, 1.0, (16, 64)) * 1e-3
    pairs = np.concatenate([x[:, :32] + mean, x[:, 32:] - mean], axis=1)
    made = convert_in_memory(Job(onnx.parser.parse_model(text), ConversionConfig(), {"x": pairs.astype(np.float32)}))
    assert ("conditioning" in {each.rule for each in made[PrecisionPlan].nodes}) == keeps


@pytest.mark.parametrize(("values", "keeps"), [((20.0, 20.5), True), ((-20.0, 20.0), False)])
def test_a_comparison_of_close_values_is_kept(plan, values, keeps):
    text = "g (float[4] x) => (bool[4] y) <float threshold = {20.17}> { [above] y = Greater(x, threshold) }"
    assert kept(plan, text, {"x": values}) == ({"above"} if keeps else set())


@pytest.mark.parametrize(("step", "keeps"), [(0.001, True), (2.0, False)])
@pytest.mark.parametrize("total", ["Add(s, c)", "Add(c, s)", "Sub(s, c)"])
def test_a_state_that_a_loop_adds_small_steps_to_is_kept_with_the_loop(plan, total, step, keeps):
    text = f"""g (float[4] x) => (float[4] y) <int64 steps = {{100}}, bool yes = {{1}}> {{
      [repeat] y = Loop(steps, yes, x) <body = b (int64 i, bool go, float[4] s) => (bool more, float[4] t) {{
        more = Identity(go) [step] c = Abs(x) [add] t = {total} }}> }}"""
    ranges = {"x": (-step, step), "s": (4.0, 6.0), "c": (0.0, step), "t": (4.0, 6.0), "y": (4.0, 6.0)}
    assert kept(plan, text, ranges) == ({"repeat", "repeat:body/add"} if keeps else set())


def test_a_state_that_a_loop_scales_is_not_a_running_sum(plan):
    text = """g (float[4] x) => (float[4] y) <int64 steps = {100}, bool yes = {1}> {
      [repeat] y = Loop(steps, yes, x) <body = b (int64 i, bool go, float[4] s) => (bool more, float[4] t) {
        more = Identity(go) [forget] f = Mul(s, s) [add] t = Add(f, x) }> }"""
    assert kept(plan, text, {"x": (0.0, 0.001), "s": (4.0, 6.0), "f": (4.0, 6.0), "t": (4.0, 6.0)}) == set()
