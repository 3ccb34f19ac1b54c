"""Recipes from plans: what rests on data, by pattern; carried to a deeper model of the family."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file
from autocast_core.errors import PlanError
from autocast_core.pipeline.learnt.plan_figures import graph_of_plan, plan_figures
from autocast_core.pipeline.learnt.recipe_of_plan import recipe_of_plans


def network(path, layers, prefix="layers"):
    """Blocks of two products with Relu between them; the second one's results are over 512 in every block."""
    rng = np.random.default_rng(0)
    lines, weights, x = [], {}, "x"
    for n in range(layers):
        weights[f"up{n}"] = rng.normal(size=(8, 8)) * 0.3
        weights[f"down{n}"] = rng.normal(size=(8, 8)) * 500
        lines += [
            f"[{prefix}_{n}_up_MatMul] u{n} = MatMul({x}, up{n})",
            f"[{prefix}_{n}_Relu] r{n} = Relu(u{n})",
            f"[{prefix}_{n}_down_MatMul] d{n} = MatMul(r{n}, down{n})",
            f"[{prefix}_{n}_scale_Mul] t{n} = Mul(d{n}, small)",
        ]
        x = f"t{n}"
    declared = ", ".join(
        f"float[8, 8] {name} = {{{', '.join(f'{value:.4f}' for value in w.flat)}}}" for name, w in weights.items()
    )
    text = f"""<ir_version: 8, opset_import: ["": 17]> net (float[N, 8] x) => (float[N, 8] {x})
    <{declared}, float small = {{0.001}}>
    {{ {" ".join(lines)} }}"""
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.fixture
def learnt(tmp_path):
    """A folder with a model of two blocks, data, and its plan."""
    data = {"x": np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32) * 3}
    np.savez(tmp_path / "d.npz", **data)
    plan = convert_file(network(tmp_path / "two.onnx", 2), tmp_path / "low.onnx", calibration=data).plan
    return tmp_path, plan


def kept(plan):
    return {node.id.removeprefix("graph/"): node.rule for node in plan.nodes if node.precision == "fp32"}


def test_a_plan_without_its_model_gives_names_with_open_numbers(learnt):
    _, plan = learnt
    assert set(kept(plan)) == {f"layers_{n}_{end}" for n in range(2) for end in ("down_MatMul", "scale_Mul")}
    recipe = recipe_of_plans("blocks", "blocks of two products", "two", [plan])
    assert [(each.op_type, each.names, each.nodes) for each in recipe.decisions] == [
        ("MatMul", ("layers_{n}_down_MatMul",), 2),
        ("Mul", ("layers_{n}_scale_Mul",), 2),
    ]
    assert recipe.decisions[0].rule == "io_range" and "over data_max" in recipe.decisions[0].reason


def test_what_was_learnt_is_carried_to_another_depth_without_data(learnt):
    folder, plan = learnt
    recipe = recipe_of_plans("blocks", "blocks of two products", "two", [plan])
    deep = convert_file(
        network(folder / "four.onnx", 4), folder / "o.onnx", ConversionConfig(recipe=recipe, data_max=1e4)
    )
    assert kept(deep.plan) == {f"layers_{n}_{end}": "recipe" for n in range(4) for end in ("down_MatMul", "scale_Mul")}
    assert deep.plan.nodes[2].reason.startswith("recipe blocks: tensor 'd0' reaches")


def test_with_its_model_nodes_are_known_by_what_is_around_them_whatever_they_are_called(learnt):
    folder, plan = learnt
    recipe = recipe_of_plans("blocks", "blocks", "two", [plan], [graph_of_plan(folder / "two.onnx", plan)])
    assert [(each.op_type, each.reads, each.names) for each in recipe.decisions] == [
        ("MatMul", ("Relu", "constant"), ()),
        ("Mul", ("MatMul", "constant"), ()),
        ("Mul", ("MatMul", "constant"), ()),
    ]
    renamed = network(folder / "renamed.onnx", 3, prefix="h")
    found = convert_file(renamed, folder / "o.onnx", ConversionConfig(recipe=recipe, data_max=1e4)).plan
    assert set(kept(found)) == {f"h_{n}_{end}" for n in range(3) for end in ("down_MatMul", "scale_Mul")}


def test_a_recipe_says_nothing_of_another_16_bit_type_and_warns(learnt):
    folder, plan = learnt
    recipe = recipe_of_plans("blocks", "blocks of two products", "two", [plan])
    config = ConversionConfig(precision=Precision.BF16, recipe=recipe, data_max=1e4)
    found = convert_file(folder / "two.onnx", folder / "o.onnx", config)
    assert kept(found.plan) == {}
    assert "recipe 'blocks' is about no node of this model in bf16: it is for blocks of two products" in found.warnings


def test_an_include_option_is_stronger_than_a_recipe(learnt):
    folder, plan = learnt
    recipe = recipe_of_plans("blocks", "blocks", "two", [plan])
    config = ConversionConfig(recipe=recipe, data_max=1e4, nodes_to_include=("layers_0",))
    assert set(kept(convert_file(folder / "two.onnx", folder / "o.onnx", config).plan)) == {
        "layers_1_down_MatMul",
        "layers_1_scale_Mul",
    }


def test_what_the_decisions_are_worth_is_measured(learnt):
    folder, plan = learnt
    figures = plan_figures(folder / "two.onnx", plan, folder / "d.npz")
    recipe = recipe_of_plans("blocks", "blocks", "two", [plan], figures=[figures])
    measured = recipe.measured[0]
    assert (measured.fp32, measured.low, measured.precision, measured.data) == (4, 4, "fp16", "calibration")
    assert measured.sqnr_db > measured.sqnr_db_all_low


def test_a_plan_in_which_nothing_rests_on_data_makes_no_recipe(learnt):
    folder, _ = learnt
    excluded = ConversionConfig(nodes_to_exclude=("layers_0_Relu",), data_max=float("inf"))
    plan = convert_file(folder / "two.onnx", folder / "o.onnx", excluded).plan
    with pytest.raises(PlanError, match="no decision of the plan rests on data"):
        recipe_of_plans("blocks", "blocks", "two", [plan])


def test_another_model_than_the_plans_is_refused(learnt):
    folder, plan = learnt
    other = graph_of_plan(network(folder / "four.onnx", 4), plan)
    with pytest.raises(PlanError, match="made for another structure"):
        recipe_of_plans("blocks", "blocks", "two", [plan], [other])
