"""Tiny constants that protect a denominator, a logarithm or a root."""

import pytest

L2 = """g (float[N, 8] x) => (float[N, 8] y) <float guard = {GUARD}, int64[2] shape = {1, 8}> {
  [norm] n = ReduceL2<axes = [1], keepdims = 1>(x) [guard] g = Clip(n, guard) [expand] e = Expand(g, shape)
  [divide] y = Div(x, e) }"""


def kept(plan, text: str, **options) -> set[str]:
    found = plan(text, **options).nodes
    return {each.id.removeprefix("graph/") for each in found if each.rule == "guards"}


def test_all_between_a_guard_and_what_it_protects_is_kept(plan):
    assert kept(plan, L2.replace("GUARD", "1e-12")) == {"guard", "expand", "divide"}


@pytest.mark.parametrize(("guard", "keeps"), [("2.9e-8", True), ("3e-8", False), ("0", False), ("1", False)])
def test_a_guard_holds_where_it_does_not_round_to_zero(plan, guard, keeps):
    assert bool(kept(plan, L2.replace("GUARD", guard))) == keeps


def test_bf16_holds_what_fp32_holds(plan):
    assert kept(plan, L2.replace("GUARD", "1e-12"), precision="bf16", opset=22) == set()


@pytest.mark.parametrize(
    ("steps", "nodes"),
    [
        ("[root] r = Sqrt(g) [divide] y = Div(x, r)", {"guard", "root", "divide"}),
        ("[logarithm] y = Log(g)", {"guard", "logarithm"}),
        ("[invert] y = Reciprocal(g)", {"guard", "invert"}),
        ("[power] y = Pow(g, minus)", {"guard", "power"}),
        ("[scale] r = Mul(g, two) [divide] y = Div(x, r)", {"guard", "scale", "divide"}),
        ("[power] p = Pow(g, high) [invert] y = Reciprocal(p)", {"guard", "power", "invert"}),
        ("[squash] r = Sigmoid(g) [divide] y = Div(x, r)", set()),
        ("[scale] y = Mul(x, g)", set()),
        ("[divide] y = Div(g, x)", set()),
    ],
)
def test_what_a_guard_protects(plan, steps, nodes):
    text = f"""g (float[2] x) => (float[2] y) <float tiny = {{1e-20}}, float two = {{2}}, float high = {{40}},
      float minus = {{-0.5}}>
      {{ [guard] g = Max(x, tiny) {steps} }}"""
    assert kept(plan, text) == nodes


def test_a_constant_is_found_behind_what_lays_it_out(plan):
    text = """g (float[2] x) => (float[2] y) <float tiny = {1e-20}, int64[1] to = {1}> {
      [lay] t = Reshape(tiny, to) [guard] g = Add(x, t) [divide] y = Div(x, g) }"""
    assert kept(plan, text) == {"lay", "guard", "divide"}


def test_nothing_is_kept_behind_a_root_that_the_low_type_holds(plan):
    text = """g (float[2] x) => (float[2] y) <float tiny = {1e-8}> {
      [guard] g = Add(x, tiny) [root] r = Sqrt(g) [divide] y = Div(x, r) }"""
    assert kept(plan, text) == {"guard", "root"}


def test_a_reciprocal_beyond_the_low_type_is_kept_with_what_takes_it(plan):
    text = """g (float[2] x) => (float[2] y) <float tiny = {1e-6}> {
      [guard] g = Add(x, tiny) [invert] r = Reciprocal(g) [scale] y = Mul(x, r) }"""
    assert kept(plan, text) == {"invert", "scale"}


def test_the_reason_names_guard_and_operator(plan):
    found = plan(L2.replace("GUARD", "1e-12")).by_id()["graph/guard"]
    assert found.reason == "'guard' = 1e-12 keeps the operand of Div from zero; fp16 does not"
    assert found.evidence[0].tensor == "guard"


def test_a_guard_is_found_without_data_and_without_limits(plan):
    text = L2.replace("GUARD", "1e-12")
    assert kept(plan, text, data_max=float("inf"), init_max=float("inf"), small_values=False)


def test_a_guard_is_found_before_a_rule_that_a_search_may_override(plan):
    ranges = {"x": (-1e4, 1e4), "n": (0.0, 1e4), "g": (1e-12, 1e4), "y": (-1.0, 1.0)}
    assert "divide" in kept(plan, L2.replace("GUARD", "1e-12"), ranges=ranges)


def test_an_include_option_overrules_a_guard(plan):
    assert "divide" not in kept(plan, L2.replace("GUARD", "1e-12"), nodes_to_include=("divide",))


def test_a_guard_in_a_body_is_kept(plan):
    text = """g (float[2] x, bool c) => (float[2] y) <float tiny = {1e-20}> {
      [if] y = If(c) <then_branch = t () => (float[2] a) { [guard] g = Max(x, tiny) [divide] a = Div(x, g) },
                      else_branch = e () => (float[2] b) { [same] b = Identity(x) }> }"""
    found = {each.rpartition("/")[2] for each in kept(plan, text)}
    assert found == {"guard", "divide"}
