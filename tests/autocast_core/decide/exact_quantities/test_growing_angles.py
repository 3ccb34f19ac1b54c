"""Which values are angles that grow with the sequence."""

import pytest

from autocast_core.decide.exact_quantities.exact_values import find_exact_values
from autocast_core.decide.exact_quantities.growing_angles import find_growing_angles
from autocast_core.graph.walk import all_nodes


def angles(model, text: str) -> set[str]:
    nodes = list(all_nodes(model(text).graph))
    return {str(value.name) for value in find_growing_angles(nodes, find_exact_values(nodes))}


def test_angles_are_followed_to_the_positions_behind_them(model):
    text = """g (int64[n] p) => (float[n,4] c) <float[1,2] f = {1.0, 0.1}, int64[1] ax = {1}> {
      q = Cast<to = 1>(p) u = Unsqueeze(q, ax) a = Mul(u, f) e = Concat<axis = 1>(a, a) c = Cos(e)
    }"""
    assert angles(model, text) == {"e", "a", "u", "q"}


def test_positions_are_followed_through_arithmetic_of_any_kind(model):
    text = """g (int64[n] p) => (float[n] c) <float base = {10000}> {
      q = Cast<to = 1>(p) e = Pow(base, q) r = Reciprocal(e) c = Sin(r) }"""
    assert angles(model, text) == {"r", "e", "q"}


def test_angles_of_activations_are_not_looked_at(model):
    text = "g (float[2] x) => (float[2] y) <float k = {3.0}> { a = Exp(x) b = Mul(a, k) y = Sin(b) }"
    assert angles(model, text) == set()


def test_a_sine_of_positions_that_several_sections_give_as_in_m_rope(model):
    """Qwen2-VL: rows of angles of three kinds of positions are scattered into one another."""
    text = """g (int64[n] p, int64[n] h, int64[k,1] at) => (float[n] y) <float f = {0.1}> {
      a = Cast<to = 1>(p) b = Cast<to = 1>(h) s = ScatterND(a, at, b) r = Mul(s, f) y = Sin(r) }"""
    assert angles(model, text) == {"r", "s", "a", "b"}


@pytest.mark.parametrize(
    ("between", "more"),
    [
        ("t = Identity(c)", set()),
        ("w = Floor(c) t = Sub(c, w)", {"w"}),
        ("t = Mod<fmod = 1>(c, one)", set()),
        ("t = Where(choice, c, c)", set()),
        ("t = ScatterElements(c, at, c)", set()),
        ("w = Gather<axis = 0>(c, at) t = Transpose(w)", {"w"}),
    ],
)
def test_the_phase_of_a_vocoder_is_a_running_sum(model, between, more):
    text = f"""g (float[n] hertz, bool[n] choice) => (float[n] y)
      <float rate = {{24000}}, float turn = {{6.2832}}, int64 axis = {{0}}, float one = {{1}}, int64[1] at = {{0}}> {{
        f = Div(hertz, rate) c = CumSum(f, axis) {between} p = Mul(t, turn) y = Sin(p) }}"""
    assert angles(model, text) == {"hertz", "f", "c", "t", "p"} | more


def test_a_phase_that_a_loop_sums_up_is_one_where_positions_enter(model):
    text = """g (int64 n, bool go, float x) => (float y) <float f = {0.1}> {
      last = Loop(n, go, x) <body = b (int64 step, bool on, float a) => (bool still, float c) {
        still = Identity(on) s = Cast<to = 1>(step) c = Mul(s, f) }> y = Sin(last) }"""
    assert {"s", "c", "last"} <= angles(model, text)
