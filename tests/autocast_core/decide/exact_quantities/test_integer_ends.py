"""Which float arithmetic becomes integers."""

import pytest

from autocast_core.decide.exact_quantities.exact_values import find_exact_values
from autocast_core.decide.exact_quantities.integer_ends import IntegerEnd, find_integer_ends
from autocast_core.graph.walk import all_nodes


def ends(model, text: str) -> dict[str, IntegerEnd]:
    nodes = list(all_nodes(model(text).graph))
    found = find_integer_ends(nodes, find_exact_values(nodes))
    return {str(node.outputs[0].name): end for node, end in found.items()}


LENGTHS = """g (float[1,t] logw) => (%s) <int64[1] axes = {1}, int64 axis = {1}, float zero = {0}, float one = {1},
  int64 first = {0}> { w = Exp(logw) c = %s(w) s = ReduceSum<keepdims = 0>(c, axes) %s }"""


@pytest.mark.parametrize("rounding", ["Ceil", "Round", "Floor"])
@pytest.mark.parametrize(
    ("output", "uses", "at"),
    [
        ("int64[1] y", "y = Cast<to = 7>(s)", "Cast"),
        ("int32[1] y", "y = Cast<to = 6>(s)", "Cast"),
        ("float[k] y", "n = Gather(s, first) y = Range(zero, n, one)", "Range"),
        ("float[n] y", "i = Cast<to = 7>(s) y = ConstantOfShape(i)", "Cast"),
    ],
)
def test_durations_that_become_lengths_are_kept_from_what_makes_them_on(model, rounding, output, uses, at):
    found = ends(model, LENGTHS % (output, rounding, uses))
    assert {"w", "c", "s"} <= set(found)
    assert found["w"].operator == at


def test_frames_that_are_compared_with_the_end_of_a_sum_are_kept(model):
    """generate_path of VITS: a frame belongs to the phoneme whose durations so far exceed its place."""
    text = """g (float[1,t] w, int64 n) => (float[m,t] path) <int64 axis = {1}, float zero = {0}, float one = {1},
        int64[1] last = {1}> {
      c = Ceil(w) e = CumSum(c, axis) f = Cast<to = 1>(n) r = Range(zero, f, one) u = Unsqueeze(r, last)
      [compare] b = Less(u, e) path = Cast<to = 1>(b) }"""
    assert set(ends(model, text)) == {"c", "e", "u", "r", "f"}
    assert ends(model, text)["e"] == IntegerEnd("compare", "Less", "e")


def test_an_index_that_a_network_computes_is_kept_for_three_computing_nodes(model):
    text = """g (float[4] x) => (float[4] y) <float[9] table = {1,2,3,4,5,6,7,8,9}, float eight = {8}> {
      a = Tanh(x) b = Exp(a) c = Sqrt(b) d = Sigmoid(c) e = Mul(d, eight) i = Cast<to = 7>(e)
      y = Gather(table, i) }"""
    assert set(ends(model, text)) == {"e", "d", "c", "b"}


@pytest.mark.parametrize(
    "end",
    ["y = Cast<to = 2>(r)", "y = Cast<to = 9>(r)", "y = Mul(r, scale)", "y = Greater(x, scale)"],
)
def test_images_quantized_numbers_and_thresholds_are_not(model, end):
    text = f"g (float[4] x) => (y) <float scale = {{255}}> {{ s = Mul(x, scale) r = Round(s) {end} }}"
    assert ends(model, text) == {}
