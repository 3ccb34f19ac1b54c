"""Names whose numbers are left open."""

import pytest

from autocast_core.errors import PlanError
from autocast_core.recipes.numbered_names import NumberedName, numbered_names

LAYERS = [f"/layers.{n}/mlp/fc1/MatMul" for n in range(3)]


def test_the_number_in_which_names_differ_is_left_open():
    assert numbered_names(LAYERS, ()) == ("/layers.{n}/mlp/fc1/MatMul",)
    assert NumberedName("/layers.{n}/mlp/fc1/MatMul").matches("/layers.11/mlp/fc1/MatMul")


@pytest.mark.parametrize("name", ["/layers.x/mlp/fc1/MatMul", "/layers.1/mlp/fc2/MatMul", "/layers.1/mlp/fc1/MatMul_1"])
def test_everything_else_is_literal_and_the_whole_name_must_match(name):
    assert not NumberedName("/layers.{n}/mlp/fc1/MatMul").matches(name)


def test_a_pattern_that_would_match_another_name_is_not_made():
    assert numbered_names(LAYERS[:2], LAYERS[2:]) == tuple(LAYERS[:2])


def test_names_of_different_text_are_patterns_of_their_own():
    assert numbered_names(["a.0/Add", "a.1/Add", "b/Add"], ["c.0/Add"]) == ("a.{n}/Add", "b/Add")


@pytest.mark.parametrize("text", ["a{n}{n}", "a{n}1", "1{n}"])
def test_a_number_beside_an_open_one_is_refused(text):
    with pytest.raises(PlanError, match="write no digit"):
        NumberedName(text)
