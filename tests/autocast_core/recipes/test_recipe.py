"""The form of recipe files, and which nodes a decision is about."""

import onnx
import onnx_ir as ir
import pytest

from autocast_core.config import Precision
from autocast_core.errors import MissingPlanError, PlanError
from autocast_core.recipes import DecisionMatcher, Recipe, RecipeDecision, read_recipe, recipe_of
from autocast_core.recipes.neighbourhood import neighbourhood

NET = """
<ir_version: 8, opset_import: ["": 17]>
net (float[N, 4] x) => (float[N, 4] y, float[N, 4] z)
<float[4] w = {1.0, 2.0, 3.0, 4.0}>
{
    [first] a = Mul(x, w)
    [second] b = Mul(a, a)
    [third] y = Clip(b, , w0)
    [fourth] z = Mul(a, b)
}
"""


@pytest.fixture
def nodes():
    text = NET.replace(", , w0", ", , limit").replace("4.0}>", "4.0}, float limit = {9.0}>")
    return {node.name: node for node in ir.from_proto(onnx.parser.parse_model(text)).graph}


def decision(op_type="Mul", **changes):
    return RecipeDecision(op_type, "fp32", "because", ("fp16",), **changes)


def test_what_a_node_reads_and_what_reads_it_is_told_by_operator(nodes):
    found = {name: (around.reads, around.read_by) for name, around in ((n, neighbourhood(nodes[n])) for n in nodes)}
    assert found == {
        "first": (("input", "constant"), ("Mul",)),
        "second": (("Mul", "Mul"), ("Clip", "Mul")),
        "third": (("Mul", "", "constant"), ("output",)),
        "fourth": (("Mul", "Mul"), ("output",)),
    }


@pytest.mark.parametrize(
    ("changes", "matched"),
    [
        ({"reads": ("Mul", "Mul")}, ["second", "fourth"]),
        ({"reads": ("Mul", "Mul"), "read_by": ("output",)}, ["fourth"]),
        ({"names": ("sec{n}", "first")}, ["first"]),
        ({"names": ("fourth",), "reads": ("input", "constant")}, []),
    ],
)
def test_a_decision_is_about_nodes_that_have_all_that_it_names(nodes, changes, matched):
    matcher = DecisionMatcher([decision(**changes)])
    assert [name for name, node in nodes.items() if matcher.match(node, (name,)) is not None] == matched


def test_names_that_a_fused_node_replaces_count(nodes):
    assert DecisionMatcher([decision(names=("old",))]).match(nodes["first"], ("first", "old")) is not None


def test_a_recipe_is_read_as_it_was_written(tmp_path):
    recipe = Recipe("my-family", "models of mine", (decision(reads=("Mul",)),))
    (tmp_path / "r.json").write_text(recipe.to_json())
    assert read_recipe(tmp_path / "r.json") == recipe == recipe_of(recipe.plain())
    assert recipe.for_type(Precision.BF16) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "the recipe is not JSON"),
        ('{"name": "a"}', "missing required field `family`"),
        ('{"name": "A b", "family": "f", "decisions": []}', "Expected `str` matching regex"),
        (
            '{"name": "a", "family": "f", "decisions": [{"op_type": "Add", "precision": "fp8", "reason": "",'
            ' "types": ["fp16"]}]}',
            "Invalid enum value 'fp8' - at `$.decisions[0].precision`",
        ),
        (
            '{"name": "a", "family": "f", "decisions": [{"op_type": "Add", "precision": "fp32", "reason": "",'
            ' "types": ["fp16"]}]}',
            "names every Add: give names, reads or read_by",
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path, text, said):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(PlanError) as error:
        read_recipe(tmp_path / "r.json")
    assert said in str(error.value) and "r.json" in str(error.value)


def test_a_file_that_is_missing_is_named_beside_the_recipes_that_there_are():
    with pytest.raises(
        MissingPlanError, match=r"none\.json: no such file, and no recipe of that name; there are .*log-mel"
    ):
        recipe_of("none.json")
