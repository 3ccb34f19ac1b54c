"""Tensors that overflow where their arguments are some times larger than calibration saw them."""

import math

import pytest


def kept(plan, text: str, ranges: dict, headroom: float = 8.0, **options) -> set[str]:
    found = plan(text, ranges, data_max=1e5, headroom=headroom, **options).nodes
    return {each.id.removeprefix("graph/") for each in found if each.rule == "headroom"}


@pytest.mark.parametrize(
    ("node", "x", "y", "keeps"),
    [
        ("Exp(x)", 1.38, math.exp(1.38), False),
        ("Exp(x)", 1.40, math.exp(1.40), True),
        ("Exp(x)", -1.0, math.exp(-1.0), False),
        ("Pow(two, x)", 1.99, 2**1.99, False),
        ("Pow(two, x)", 2.01, 2**2.01, True),
        ("Pow(x, three)", 5.0, 125.0, False),
        ("Pow(x, three)", 5.1, 5.1**3, True),
        ("Mul(x, x)", 31.9, 31.9**2, False),
        ("Mul(x, x)", 32.1, 32.1**2, True),
        ("ReduceSumSquare(x)", 16.0, 1020.0, False),
        ("ReduceSumSquare(x)", 16.0, 1030.0, True),
        ("MatMul(x, x)", 20.0, 1020.0, False),
        ("MatMul(x, x)", 20.0, 1030.0, True),
        ("MatMul(x, w)", 20.0, 8000.0, False),
        ("MatMul(x, w)", 20.0, 8200.0, True),
        ("Mul(x, two)", 4000.0, 8000.0, False),
        ("Mul(x, two)", 4100.0, 8200.0, True),
        ("Sqrt(x)", 8000.0, 89.0, False),
    ],
)
def test_what_fits_fits_eight_times_larger_arguments_too(plan, node, x, y, keeps):
    text = f"""g (float[2,2] x) => (y)
      <float two = {{2}}, float three = {{3}}, float[2,2] w = {{1, 0, 0, 1}}> {{ [n] y = {node} }}"""
    assert kept(plan, text, {"x": (x if x < 0 else 0.0, x), "y": (0.0, y)}) == ({"n"} if keeps else set())


def test_a_product_of_a_product_grows_with_all_three_factors(plan):
    text = "g (float[2] x) => (float[2] y) { [square] s = Mul(x, x) [cube] y = Mul(s, x) }"
    assert kept(plan, text, {"x": (-5.0, 5.0), "s": (0.0, 25.0), "y": (-125.0, 125.0)}) == set()
    assert kept(plan, text, {"x": (-6.0, 6.0), "s": (0.0, 36.0), "y": (-216.0, 216.0)}) == {"cube"}


def test_what_reads_an_exponential_is_kept_as_far_as_it_is_large(plan):
    text = """g (float[2] x) => (float[2] y) <float one = {1}> {
      [exp] e = Exp(x) [add] a = Add(e, one) [log] l = Log(a) [after] y = Neg(l) }"""
    ranges = {"x": (-5.0, 5.0), "e": (0.0, 149.0), "a": (1.0, 150.0), "l": (0.0, 5.0), "y": (-5.0, 0.0)}
    assert kept(plan, text, ranges) == {"exp", "add", "log"}


@pytest.mark.parametrize(
    "text",
    [
        "[minus] m = Neg(x) [exp] e = Exp(m) [add] a = Add(e, one) [divide] y = Div(one, a)",
        "[minus] m = Neg(x) [exp] e = Exp(m) [add] a = Add(e, one) [invert] y = Reciprocal(a)",
        "[cube] e = Pow(x, three) [scale] s = Mul(e, small) [add] a = Add(x, s) [tanh] y = Tanh(a)",
        "[exp] e = Exp(x) [clip] y = Clip(e, one, three)",
        "[most] m = ReduceMax(x) [less] d = Sub(x, m) [exp] e = Exp(d) [sum] a = ReduceSum(e) [divide] y = Div(e, a)",
    ],
)
def test_infinities_that_give_the_right_limit_keep_nothing(plan, text):
    graph = f"g (float[2] x) => (y) <float one = {{1}}, float three = {{3}}, float small = {{0.044}}> {{ {text} }}"
    ranges = {"x": (-5.0, 5.0), "m": (-5.0, 5.0), "d": (-10.0, 0.0), "e": (0.0, 149.0), "a": (1.0, 150.0)}
    if "most" in text:
        ranges |= {"e": (0.0, 1.0), "a": (1.0, 2.0)}
    assert kept(plan, graph, {**ranges, "s": (0.0, 7.0), "y": (0.0, 1.0)}) == set()


def test_masks_are_meant_to_be_large(plan):
    text = """g (float[2,2] x) => (float[2,2] y) <float[2,2] mask = {0, -30000, 0, -30000}> {
      [mask] m = Add(x, mask) [softmax] y = Softmax(m) }"""
    assert kept(plan, text, {"x": (-5.0, 5.0), "m": (-30005.0, 5.0), "y": (0.0, 1.0)}) == set()


def test_bf16_has_its_own_range(plan):
    text = "g (float[2] x) => (float[2] y) { [exp] y = Exp(x) }"
    for largest, keeps in ((11.0, False), (11.2, True)):
        ranges = {"x": (0.0, largest), "y": (0.0, math.exp(largest))}
        assert kept(plan, text, ranges, precision="bf16", opset=22) == ({"exp"} if keeps else set())


def test_without_a_margin_calibration_is_believed(plan):
    text = "g (float[2] x) => (float[2] y) { [exp] y = Exp(x) }"
    assert kept(plan, text, {"x": (0.0, 11.0), "y": (0.0, math.exp(11.0))}, headroom=1.0) == set()


def test_the_reason_says_what_was_seen_and_what_may_come(plan):
    found = plan(
        "g (float[2] x) => (float[2] y) { [exp] y = Exp(x) }", {"x": (0.0, 2.0), "y": (0.0, 7.4)}, headroom=8.0
    )
    (decision,) = found.nodes
    assert decision.reason == (
        "tensor 'y' reached 7.4 and may reach 8.89e+06, over 65504, where its arguments are 8 times larger"
    )
    assert decision.evidence[0].detail == "may reach 8.89e+06 with headroom 8"


@pytest.mark.parametrize(
    ("text", "least", "expected"),
    [
        ("[softmax] p = Softmax(x) [log] y = Log(p)", 0.05, {"softmax", "log"}),
        ("[softmax] p = Softmax(x) [log] y = Log(p)", 0.2, set()),
        ("[exp] p = Exp(x) [invert] y = Reciprocal(p)", 0.05, {"exp", "invert"}),
        ("[sigmoid] s = Sigmoid(x) [flat] p = Flatten(s) [log] y = Log(p)", 0.05, {"sigmoid", "flat", "log"}),
        ("[size] p = Abs(x) [log] y = Log(p)", 0.05, set()),
        ("[size] p = Abs(x) [log] y = Log(p)", 2e-7, {"size", "log"}),
        ("[size] p = Abs(x) [divide] y = Div(x, p)", 2e-7, {"size", "divide"}),
        ("[size] p = Abs(x) [divide] y = Div(p, x)", 2e-7, set()),
        ("[size] p = Abs(x) [power] y = Pow(p, minus)", 2e-7, {"size", "power"}),
        ("[size] p = Abs(x) [power] y = Pow(p, plus)", 2e-7, set()),
        ("[size] p = Abs(x) [log] y = Log(p)", 0.0, set()),
    ],
)
def test_what_may_become_zero_is_kept_where_a_zero_does_harm(plan, text, least, expected):
    graph = f"g (float[2,2] x) => (y) <float minus = {{-1}}, float plus = {{2}}> {{ {text} }}"
    ranges = {"x": (-1.0, 1.0), "s": (least, 0.9), "p": (least, 0.9), "y": (-3.0, 3.0)}
    assert kept(plan, graph, ranges) == expected


@pytest.mark.parametrize(
    "form", ["k = Constant<value_float = 10000.0>()", "k = ConstantOfShape<value = float[1] {1e4}>(n)"]
)
def test_a_constant_does_not_grow_with_the_data(plan, form):
    text = f"""g (float[2] x) => (float[2] y) <int64[1] n = {{1}}> {{
        [turn] b = Neg(x) [fill] {form} [add] a = Add(b, k) [out] y = Sigmoid(a)
    }}"""
    ranges = {"x": (-2e4, 1e4), "b": (-1e4, 2e4), "k": (1e4, 1e4), "a": (-1e4, 3e4), "y": (0.0, 1.0)}
    assert kept(plan, text, ranges) == set()
