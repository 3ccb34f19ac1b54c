import pytest

from autocast_core.calibrate.statistics import TensorStats
from autocast_core.decide.mask_ends import mask_ends
from autocast_core.graph.walk import nodes_with_ids


def ends(model, text: str, **ranges: tuple[float, float]) -> dict[str, int]:
    stats = {name: TensorStats(count=4, min=low, max=high) for name, (low, high) in ranges.items()}
    return mask_ends(model(text), lambda value: stats.get(value.name), 512.0)


@pytest.mark.parametrize("low", ["-3.4e38", "-1e9", "-10000.0"])
def test_a_constant_mask_and_the_scores_it_is_added_to(model, low):
    text = f"g (float[2,3] x) => (float[2,3] y) <float[3] m = {{0, {low}, 0}}> {{ s = Add(x, m) y = Softmax(s) }}"
    assert ends(model, text) == {"m": -1, "s": -1}


def test_a_mask_that_is_subtracted_is_at_the_upper_end_until_then(model):
    text = "g (float[2,3] x) => (float[2,3] y) <float[3] m = {0, 1e9, 0}> { s = Sub(x, m) y = Softmax(s) }"
    assert ends(model, text) == {"m": 1, "s": -1}


def test_a_graph_input_is_a_mask_where_its_elements_say_so(model):
    text = "g (float[2,3] x, float[2,3] m) => (float[2,3] y) { s = Add(x, m) y = Softmax(s) }"
    assert ends(model, text) == {}
    assert ends(model, text, x=(-5, 5), m=(-1e9, 0)) == {"m": -1, "s": -1}
    assert ends(model, text, x=(-5, 5), m=(-1e9, 1e9)) == {}


def test_a_large_constant_that_also_reaches_something_else_is_not_a_mask(model):
    text = (
        "g (float[2,3] x) => (float[2,3] y, float[2,3] z) <float[3] m = {0, "
        "-1e9, 0}> { s = Add(x, m) y = Softmax(s) z = Neg(s) }"
    )
    assert ends(model, text) == {}


def test_masks_in_bodies_are_found(model):
    text = """g (float[2,3] x, bool c) => (float[2,3] z) <float[3] m = {0, -1e9, 0}> {
      z = If(c) <then_branch = t () => (float[2,3] a) { s = Add(x, m) a = Softmax(s) },
                 else_branch = e () => (float[2,3] b) { b = Neg(x) }>
    }"""
    assert ends(model, text) == {"m": -1, "s": -1}
    assert any("then_branch" in node_id for node_id, _ in nodes_with_ids(model(text).graph))
