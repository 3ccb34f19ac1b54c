import pytest

from autocast_core.decide.exact_quantities.exact_values import find_exact_values
from autocast_core.graph.walk import all_nodes


def roles(model, text: str):
    """Names per role: whole, positions, sizes."""
    found = find_exact_values(all_nodes(model(text).graph))
    return (
        {value.name for value in found.whole},
        {value.name for value in found.positions},
        {node.outputs[0].name for node in found.sizes},
    )


def test_float_arithmetic_on_a_shape_makes_sizes(model):
    text = """g (float[1,1,h,w] x) => (float[1,1,a,b] y) <float k = {0.5}, int64[2] ones = {1, 1},
            int64[1] s0 = {2}, int64[1] e0 = {4}> {
      s = Shape(x) t = Slice(s, s0, e0) f = Cast<to = 1>(t) m = Mul(f, k) r = Floor(m) i = Cast<to = 7>(r)
      z = Concat<axis = 0>(ones, i) y = Resize(x, , , z)
    }"""
    whole, positions, sizes = roles(model, text)
    assert sizes == {"f", "m", "r"}
    assert positions == {"f", "m", "r"}
    assert whole == {"f", "r"}


def test_sizes_that_also_scale_activations_do_not_count(model):
    text = """g (float[n] x) => (float[n] y, float[m] z) <int64[1] mi = {-1}> {
      s = Size(x) f = Cast<to = 1>(s) i = Cast<to = 7>(f) r = Reshape(i, mi) z = ConstantOfShape(r) y = Div(x, f)
    }"""
    assert roles(model, text)[2] == set()


def test_a_network_that_ends_in_integers_makes_no_sizes(model):
    """An image written as uint8 is still a network."""
    text = (
        "g (float[2,3] x) => (uint8[2,4] y) <float[3,4] w = "
        "{1,2,3,4,5,6,7,8,9,0,1,2}> { a = MatMul(x, w) b = Relu(a) y = Cast<to = 2>(b) }"
    )
    assert roles(model, text)[2] == set()


def test_comparisons_and_scales_end_sizes_too(model):
    text = """g (float[1,1,h,w] x, int64[4] t) => (float[a,b,c,d] y, bool[4] big) <float k = {8.0}> {
      s = Shape(x) f = Cast<to = 1>(s) g = Cast<to = 1>(t) d = Div(g, f) y = Resize(x, , d) big = Less(f, k)
    }"""
    assert roles(model, text)[2] == {"f", "g", "d"}


@pytest.mark.parametrize(
    ("node", "whole"),
    [
        ("Add(f, one)", True),
        ("Mul(f, half)", False),
        ("Neg(f)", True),
        ("Div(f, one)", False),
        ("Floor(g)", True),
        ("Unsqueeze(f, ax)", True),
        ("Compress(f, both)", True),
        ("Add(f, x)", False),
    ],
)
def test_whole_numbers_stay_whole_under_some_operators(model, node, whole):
    text = f"""g (int64[2] i, float[2] x) => (float[n] y) <float one = {{1.0}}, float half = {{0.5}},
            int64[1] ax = {{0}}, bool[2] both = {{1, 1}}> {{
      f = Cast<to = 1>(i) g = Mul(f, half) y = {node}
    }}"""
    assert ("y" in roles(model, text)[0]) == whole


def test_values_cast_from_booleans_are_not_positions(model):
    assert roles(model, "g (bool[2] m) => (float[2] y) { y = Cast<to = 1>(m) }")[1] == set()


def test_a_threshold_that_activations_are_compared_with_is_not_a_size(model):
    text = """g (float[n] x, int64 i) => (bool[n] y) <float k = {0.1}> {
      f = Cast<to = 1>(i) t = Mul(f, k) a = Exp(x) y = Less(a, t)
    }"""
    assert roles(model, text)[2] == set()


@pytest.mark.parametrize(
    "node",
    [
        "Where(choice, f, f)",
        "ScatterND(f, places, f)",
        "ScatterElements(f, first, f)",
        "Concat<axis = 0>(f, one)",
        "Pad(f, ends)",
        "Max(f, one)",
        "MatMul(f, f)",
        "Mod<fmod = 1>(f, one)",
        "CumSum(f, axis)",
    ],
)
def test_whole_numbers_are_followed_through_what_carries_them(model, node):
    text = f"""g (int64[2] i, bool[2] choice) => (float y) <float[1] one = {{1.0}}, int64[2,1] places = {{1, 0}},
            int64[2] first = {{1, 0}}, int64[2] ends = {{0, 1}}, int64 axis = {{0}}> {{
      f = Cast<to = 1>(i) y = {node}
    }}"""
    whole, positions, _ = roles(model, text)
    assert "y" in whole and "y" in positions


def test_what_a_scatter_takes_from_activations_is_not_whole(model):
    text = """g (int64[2] i, float[2] x) => (float[2] y) <int64[2,1] places = {1, 0}> {
      f = Cast<to = 1>(i) y = ScatterND(f, places, x) }"""
    assert "y" not in roles(model, text)[0]


def test_a_fill_that_stands_for_infinity_is_no_count(model):
    text = """g (int64[2] m) => (float[2] y) <float one = {1.0}, float lowest = {-3.4e38}> {
      f = Cast<to = 1>(m) k = Sub(one, f) y = Mul(k, lowest) }"""
    assert roles(model, text)[0] == {"f", "k"}


def test_rounded_activations_stay_whole_and_apart_from_counts(model):
    text = """g (float[2] x, int64[2] i) => (float[2] y, float[2] z) <float two = {2.0}, float half = {0.5}> {
      c = Ceil(x) f = Cast<to = 1>(i) d = Mul(c, two) y = Add(d, f) z = Mul(c, half) }"""
    found = find_exact_values(all_nodes(model(text).graph))
    assert {value.name for value in found.rounded} == {"c", "d", "y"}
    assert {value.name for value in found.whole} == {"f"}


LOOP = """g (int64 n, bool go, int64 i) => (float last, float[k] all) {
  start = Cast<to = 1>(i)
  last, all = Loop(n, go, start) <body = b (int64 step, bool on, float a) => (bool still, float c, float d) {
    still = Identity(on) s = Cast<to = 1>(step) c = %s d = Neg(s) }> }"""


def test_numbers_are_followed_into_bodies_and_out_of_them(model):
    assert roles(model, LOOP % "Add(a, s)")[0] == {"start", "s", "a", "c", "d", "last", "all"}


def test_what_a_body_hands_back_as_a_fraction_is_not_whole_at_its_next_iteration(model):
    assert roles(model, LOOP % "Exp(a)")[0] == {"start", "s", "d", "all"}
