"""`autocast plan recipe`, and a run by a recipe that does not exist."""

import pytest

from autocast_core import ConversionConfig, convert_file
from autocast_core.recipes import read_recipe
from tests.flows.conversions import batches, mlp


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A plan that keeps both products for their range, beside its model and data."""
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    data = batches(tmp_path / "d.npz")
    made = convert_file(mlp(tmp_path / "m.onnx"), tmp_path / "o.onnx", ConversionConfig(data_max=3), calibration=data)
    (tmp_path / "plan.json").write_text(made.plan.to_json())
    return tmp_path


def test_a_recipe_is_made_of_a_plan_and_measured(autocast, plan):
    ended = autocast(
        "plan", "recipe", plan / "plan.json", "--name", "mlps", "--family", "small perceptrons", "-o", plan / "r.json",
        "--model", plan / "m.onnx", "--evaluation", plan / "d.npz", "--json",
    )  # fmt: skip
    assert ended.code == 0
    assert set(ended.json) == {"ok", "error", "recipe", "output"}
    recipe = read_recipe(plan / "r.json")
    assert (recipe.name, recipe.family, recipe.measured[0].model) == ("mlps", "small perceptrons", "m")
    assert {each.op_type for each in recipe.decisions} == {"MatMul", "Relu"}
    assert 40 < recipe.measured[0].sqnr_db_all_low < recipe.measured[0].sqnr_db


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--name", "My Family"), "--name 'My Family': give lower-case letters, digits and hyphens"),
        (("--name", "a", "--evaluation", "d.npz"), "--evaluation measures the plan's model: give --model too"),
    ],
)
def test_bad_input_is_one_line(autocast, plan, options, said):
    ended = autocast("plan", "recipe", plan / "plan.json", *options, "--output", plan / "r.json")
    assert ended.code == 2 and len(ended.errors) == 1 and said in ended.errors[0]
    assert not (plan / "r.json").exists()


def test_a_recipe_that_does_not_exist_is_named_beside_those_that_do(autocast, plan):
    ended = autocast("run", plan / "m.onnx", "--recipe", "log-mle")
    assert ended.code == 2 and "log-mle: no such file, and no recipe of that name; there are" in ended.errors[0]
