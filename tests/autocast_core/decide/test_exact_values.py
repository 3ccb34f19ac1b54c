import pytest

from autocast_core.decide.exact_values import find_exact_values
from autocast_core.graph.walk import nodes_with_ids


def roles(model, text: str):
    """Names per role."""
    found = find_exact_values(node for _, node in nodes_with_ids(model(text).graph))
    return (
        {value.name for value in found.whole},
        {value.name for value in found.positions},
        {value.name for value in found.angles},
        {node.outputs[0].name for node in found.sizes},
    )


def test_float_arithmetic_on_a_shape_makes_sizes(model):
    text = """g (float[1,1,h,w] x) => (float[1,1,a,b] y) <float k = {0.5}, int64[2] ones = {1, 1},
            int64[1] s0 = {2}, int64[1] e0 = {4}> {
      s = Shape(x) t = Slice(s, s0, e0) f = Cast<to = 1>(t) m = Mul(f, k) r = Floor(m) i = Cast<to = 7>(r)
      z = Concat<axis = 0>(ones, i) y = Resize(x, , , z)
    }"""
    whole, positions, _, sizes = roles(model, text)
    assert sizes == {"f", "m", "r"}
    assert positions == {"f", "m", "r"}
    assert whole == {"f", "r"}


def test_sizes_that_also_scale_activations_do_not_count(model):
    text = """g (float[n] x) => (float[n] y, float[m] z) <int64[1] mi = {-1}> {
      s = Size(x) f = Cast<to = 1>(s) i = Cast<to = 7>(f) r = Reshape(i, mi) z = ConstantOfShape(r) y = Div(x, f)
    }"""
    assert roles(model, text)[3] == set()


def test_a_network_that_ends_in_integers_makes_no_sizes(model):
    """An image written as uint8 is still a network."""
    text = (
        "g (float[2,3] x) => (uint8[2,4] y) <float[3,4] w = "
        "{1,2,3,4,5,6,7,8,9,0,1,2}> { a = MatMul(x, w) b = Relu(a) y = Cast<to = 2>(b) }"
    )
    assert roles(model, text)[3] == set()


def test_comparisons_and_scales_end_sizes_too(model):
    text = """g (float[1,1,h,w] x, int64[4] t) => (float[a,b,c,d] y, bool[4] big) <float k = {8.0}> {
      s = Shape(x) f = Cast<to = 1>(s) g = Cast<to = 1>(t) d = Div(g, f) y = Resize(x, , d) big = Less(f, k)
    }"""
    assert roles(model, text)[3] == {"f", "g", "d"}


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


def test_angles_are_followed_to_the_positions_behind_them(model):
    text = """g (int64[n] p) => (float[n,4] c) <float[1,2] f = {1.0, 0.1}, int64[1] ax = {1}> {
      q = Cast<to = 1>(p) u = Unsqueeze(q, ax) a = Mul(u, f) e = Concat<axis = 1>(a, a) c = Cos(e)
    }"""
    assert roles(model, text)[2] == {"e", "a", "u", "q"}


def test_angles_of_activations_end_at_the_arithmetic_that_makes_them(model):
    text = "g (float[2] x) => (float[2] y) <float k = {3.0}> { a = Exp(x) b = Mul(a, k) y = Sin(b) }"
    assert roles(model, text)[2] == {"b"}


def test_a_threshold_that_activations_are_compared_with_is_not_a_size(model):
    text = """g (float[n] x, int64 i) => (bool[n] y) <float k = {0.1}> {
      f = Cast<to = 1>(i) t = Mul(f, k) a = Exp(x) y = Less(a, t)
    }"""
    assert roles(model, text)[3] == set()
