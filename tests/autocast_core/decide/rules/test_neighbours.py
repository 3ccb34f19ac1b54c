"""Nodes that only cost where their precision differs from their neighbours'."""

import pytest


def precisions(plan, text: str, **options) -> dict[str, tuple[str, str]]:
    """Precision and rule by the name of the node."""
    found = plan(text, {}, **{"decide": "measured", **options}).nodes
    return {each.id.removeprefix("graph/"): (str(each.precision), each.rule) for each in found}


def changed(plan, text: str, **options) -> dict[str, str]:
    """The precisions of the nodes that follow their neighbours."""
    found = precisions(plan, text, **options)
    return {name: precision for name, (precision, rule) in found.items() if rule == "neighbours"}


BETWEEN = """g (float[8] x) => (float[4] y) <int64[1] zero = {0}, int64[1] four = {4}> {
  [before] a = Erf(x) [slice] b = Slice(a, zero, four) [shape] c = Reshape(b, four) [after] y = Tanh(c) }"""


def test_movements_between_fp32_nodes_stay_fp32(plan):
    assert changed(plan, BETWEEN, op_types_to_exclude=("Erf", "Tanh")) == {"slice": "fp32", "shape": "fp32"}


def test_movements_behind_a_low_node_stay_low(plan):
    assert changed(plan, BETWEEN, op_types_to_exclude=("Tanh",)) == {}


def test_movements_in_front_of_a_low_node_stay_low(plan):
    assert changed(plan, BETWEEN, op_types_to_exclude=("Erf",)) == {}


def test_thresholds_leave_movements_as_they_are(plan):
    assert changed(plan, BETWEEN, op_types_to_exclude=("Erf", "Tanh"), decide="thresholds") == {}


def test_a_movement_that_the_user_includes_stays_low(plan):
    options = {"op_types_to_exclude": ("Erf", "Tanh"), "nodes_to_include": ("slice",)}
    assert precisions(plan, BETWEEN, **options)["slice"] == ("fp16", "include")


TOPK = """g (float[8] x) => (float[2] y, int64[2] i) <int64[1] zero = {0}, int64[1] four = {4}, int64[1] two = {2}> {
  [slice] a = Slice(x, zero, four) [best] y, i = TopK(a, two) }"""


@pytest.mark.parametrize(
    ("text", "followed"),
    [
        (TOPK, {"slice": "fp32"}),
        (TOPK.replace("[slice]", "[other] z = Neg(x) [slice]").replace("float[2] y", "float[2] y, float[8] z"), {}),
    ],
    ids=["of an input of their own", "of an input that a low node reads too"],
)
def test_what_moves_an_input_to_a_choice_that_stays_fp32_stays_fp32(plan, text, followed):
    assert changed(plan, text, op_types_to_exclude=("TopK",)) == followed


LONE = """g (float[8] x) => (float[8] y) <float two = {2}> {
  [before] a = Erf(x) [between] b = NODE [after] y = Tanh(b) }"""


@pytest.mark.parametrize(("node", "followed"), [("Mul(a, two)", {"between": "fp32"}), ("MatMul(a, a)", {})])
def test_a_lone_low_node_between_fp32_nodes_goes_fp32_unless_it_sums_products(plan, node, followed):
    text = LONE.replace("NODE", node).replace("[8]", "[8, 8]")
    assert changed(plan, text, op_types_to_exclude=("Erf", "Tanh")) == followed


def test_two_low_nodes_between_fp32_nodes_stay_low(plan):
    text = LONE.replace("NODE", "Mul(a, two) [second] c = Neg(b)").replace("Tanh(b)", "Tanh(c)")
    assert changed(plan, text, op_types_to_exclude=("Erf", "Tanh")) == {}


def test_a_movement_that_a_rule_keeps_between_low_nodes_gives_way(plan):
    text = """g (float[8] x) => (float[2, 4] y) <int64[2] s = {2, 4}> { a = Neg(x)
      [move] b = Reshape(a, s) [abs] y = Abs(b) }"""
    ranges = {"a": (0.0, 1.0), "b": (0.0, 600.0)}
    found = plan(text, ranges, decide="measured", nodes_to_include=("abs",)).by_id()["graph/move"]
    assert (str(found.precision), found.rule, found.reason) == (
        "fp16",
        "neighbours",
        "moves elements between low nodes",
    )


TABLE = ", ".join(["1"] * 1100)
SHARED = f"""g (int64[4] i, float[11] x) => (float[4, 11] y, float[100] z) <float[100, 11] table = {{{TABLE}}}> {{
  [gather] e = Gather(table, i) [low] y = Neg(e) [kept] z = MatMul(table, x) }}"""


@pytest.mark.parametrize(("excluded", "followed"), [(("MatMul",), {"gather": "fp32"}), ((), {})])
def test_a_movement_of_a_weight_that_an_fp32_node_reads_too_stays_fp32(plan, excluded, followed):
    assert changed(plan, SHARED, op_types_to_exclude=excluded) == followed
