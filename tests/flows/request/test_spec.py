"""Specs: what a person may write, and what they are told when it cannot be used."""

import json
import math
from hashlib import sha256

import pytest

from autocast_core.config import OPTIONS, ConversionConfig, Precision
from autocast_core.errors import ConfigError
from autocast_core.recipes import library, library_recipe
from flows.request.spec import Spec, load_spec, make_spec


def spec_file(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["precision: [fp16, bf16]", "precision: fp16,bf16"])
def test_two_16_bit_types_are_one_option(tmp_path, text):
    spec = load_spec(spec_file(tmp_path, text), {})
    assert (spec.precision, spec.precision_in_names) == ("fp16,bf16", "fp16-bf16")
    assert (spec.config().precision, spec.config().range_precision) == (Precision.FP16, Precision.BF16)
    assert json.loads(spec.canonical())["precision"] == "fp16,bf16"
    assert spec_of_json(spec) == spec


def spec_of_json(spec):
    return Spec.model_validate_json(spec.model_dump_json())


def test_a_spec_file_becomes_the_converters_options(tmp_path):
    path = spec_file(
        tmp_path, "precision: bf16\ndata_max: .inf\nkeep_io_types: [x]\nshapes: {x: 1x128, y: [2, 3]}\nopset: 22\n"
    )
    config = load_spec(path, {}).config()
    assert config.precision is Precision.BF16
    assert config.data_max == math.inf
    assert config.keep_io_types == ("x",)
    assert config.shapes == {"x": (1, 128), "y": (2, 3)}
    assert config.opset == 22


def test_defaults_are_those_of_the_converter_but_decisions_are_measured_ranges_repaired_and_margins_kept():
    assert Spec().config() == ConversionConfig(decide="measured", repair_ranges=True, headroom=8.0)


def test_a_spec_that_asks_for_thresholds_is_another_conversion():
    assert '"decide":"thresholds"' in Spec(decide="thresholds").canonical()
    assert "decide" not in Spec().canonical()


@pytest.mark.parametrize(
    ("option", "said"),
    [({"decide": "maybe"}, "'thresholds' or 'measured'"), ({"repair_evaluations": -1}, "greater than or equal to 0")],
)
def test_a_way_to_decide_that_does_not_exist_is_refused(option, said):
    with pytest.raises(ConfigError, match=said):
        make_spec(option, "options")


def test_command_line_options_win_over_the_file(tmp_path):
    path = spec_file(tmp_path, "precision: bf16\nname: a\n")
    spec = load_spec(path, {"precision": "fp16", "name": None})
    assert (spec.precision, spec.name) == ("fp16", "a")


def test_a_bare_off_is_not_read_as_false(tmp_path):
    assert load_spec(spec_file(tmp_path, "validation: off\n"), {}).validation == "off"


def test_one_text_where_a_list_is_asked_for_is_a_list_of_one(tmp_path):
    assert load_spec(spec_file(tmp_path, "op_types_to_exclude: Softmax\n"), {}).op_types_to_exclude == ("Softmax",)


def test_an_unknown_option_is_named_with_its_line_and_the_nearest_one(tmp_path):
    path = spec_file(tmp_path, "precision: fp16\ndata_maxi: 4\n")
    with pytest.raises(
        ConfigError, match=r"spec.yaml: line 2: there is no option 'data_maxi'; did you mean 'data_max'"
    ):
        load_spec(path, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision: fp8", r"line 1: precision: input should be 'fp16', 'bf16' or 'fp16,bf16', not 'fp8'"),
        ("seed: 1\ndata_max: -1", r"line 2: data_max: input should be greater than or equal to 0, not -1"),
        ("gates: 5", r"line 1: gates: input should be a list, not 5"),
        ("data_max: lots", r"line 1: data_max: input should be a number, not 'lots'"),
        ("opset: new", r"line 1: opset: input should be an integer, not 'new'"),
        ("allow_random: maybe", r"line 1: allow_random: input should be true or false, not 'maybe'"),
        ("shapes:\n  x: 1xq", r"line 2: shapes: .*not 'q'"),
        ("name: a/b", r"line 1: name: .*not 'a/b'"),
        ("[1", r"is not valid YAML"),
        ("- a", r"holds a list: give one `option: value` a line"),
        ("a: &a [*a]", r"is not valid YAML|there is no option 'a'"),
        ("!!python/object/apply:os.getcwd []", r"is not valid YAML: could not determine a constructor"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_spec(spec_file(tmp_path, text), {})
    assert "\n" not in str(caught.value)


def test_a_missing_spec_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file: give the path of a YAML file"):
        load_spec(tmp_path / "none.yaml", {})


def test_a_model_given_as_a_spec_is_a_config_error(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_spec(tmp_path / "model.onnx", {})


def test_the_canonical_form_leaves_out_where_data_lies():
    one, other = Spec(calibration="/a.npz", data_max=math.inf), Spec(calibration="s3://b/a.npz", data_max=math.inf)
    assert one.canonical() == other.canonical()
    assert json.loads(one.canonical())["data_max"] == "inf"
    assert one.canonical() != Spec(data_max=math.inf, seed=1).canonical()


@pytest.mark.parametrize("option", ["data_max", "headroom", "init_max", "extra_traffic"])
def test_no_limit_at_all_has_a_canonical_form(option):
    assert json.loads(Spec(**{option: math.inf}).canonical())[option] == "inf"


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "34ff56601d0d0fd34df64053592b089659f5222e5caeefb80226063a464d5cec"),
        (
            {
                "precision": "bf16",
                "data_max": math.inf,
                "keep_io_types": ("x",),
                "shapes": {"x": (1, 2)},
                "profiles": {"x": ("1x2", "2x2", "3x2")},
                "opset": 19,
                "target": "tensorrt",
                "nodes_to_exclude": "a",
                "workspace_bytes": 5,
                "gates": ["rel_l2<=1e-3"],
            },
            "7cbbf2b7a037d11d9bc13033697ebeb837c3a96370670d63fe84a045bc644454",
        ),
    ],
    ids=["defaults", "many options"],
)
def test_the_canonical_form_stays_what_identities_were_made_of(options, digest):
    """Another form would convert every model of a registry again."""
    assert sha256(Spec(**options).canonical().encode()).hexdigest() == digest


def test_of_where_the_result_goes_only_the_models_file_name_counts(tmp_path):
    (tmp_path / "folder.onnx").mkdir()
    places = ("converted/", "s3://models/fp16/", str(tmp_path / "model.onnx"), str(tmp_path / "folder.onnx"))
    assert {Spec(output=place).canonical() for place in places} == {Spec().canonical()}
    named = Spec(output="out/resnet.onnx").canonical()
    assert named == Spec(output="s3://models/resnet.onnx").canonical() != Spec().canonical()


def test_the_canonical_form_reads_back_as_the_same_spec():
    spec = Spec(data_max=math.inf, shapes={"x": (1, 2)}, keep_io_types=("x",), nodes_to_exclude=("a.*",))
    assert Spec.model_validate(json.loads(spec.canonical())) == spec


def test_tracking_parameters_are_short_texts_without_unset_options():
    flat = Spec(nodes_to_exclude=("a", "b"), shapes={"x": (1, 2)}).flat()
    assert flat["nodes_to_exclude"] == '["a", "b"]'
    assert flat["precision"] == "fp16"
    assert "output" not in flat and "op_types_to_exclude" not in flat


def test_every_option_of_the_converter_can_be_written_in_a_spec():
    assert {option.name for option in OPTIONS.values() if not option.python_only} <= set(Spec.model_fields)


@pytest.mark.parametrize("text", ["seed: 2001-13-45", f"seed: {'1' * 5000}", "seed: 0x_", "a: &a [*a]", "<<: [1]"])
def test_yaml_that_cannot_be_read_is_a_config_error(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"s\.yaml: is not valid YAML") as caught:
        load_spec(tmp_path / "s.yaml", {})
    assert "\n" not in str(caught.value)


def test_aliases_that_stand_for_a_million_values_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (tmp_path / "s.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigError, match="more than 100000 values"):
        load_spec(tmp_path / "s.yaml", {})


def test_a_file_that_is_no_file_of_options_is_refused_unread(tmp_path):
    with open(tmp_path / "s.yaml", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="larger than"):
        load_spec(tmp_path / "s.yaml", {})


def test_a_gate_of_a_million_characters_is_refused_at_once():
    with pytest.raises(ConfigError, match="at most 1000 characters"):
        make_spec({"gates": "a" * 10**6}, "options")


def test_a_recipe_is_a_name_of_the_library_or_its_content_but_no_path():
    assert Spec(recipe="log-mel").config().recipe.name == "log-mel"
    assert '"recipe":"log-mel"' in Spec(recipe="log-mel").canonical() and "recipe" not in Spec().canonical()
    with pytest.raises(ConfigError, match=r"there is no recipe '/etc/passwd'; there are .*log-mel"):
        make_spec({"recipe": "/etc/passwd"}, "tags")


def test_a_recipe_in_a_file_becomes_part_of_the_spec(tmp_path):
    recipe = {"name": "mine", "family": "f", "decisions": [
        {"op_type": "Add", "precision": "fp32", "reason": "r", "types": ["fp16"], "names": ["a_{n}"]}
    ]}  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(recipe))
    spec = load_spec(None, {"recipe": str(tmp_path / "r.json")})
    assert spec.recipe["name"] == "mine" and spec.config().recipe.decisions[0].names == ("a_{n}",)
    assert spec_of_json(spec) == spec


@pytest.mark.parametrize("name", library())
def test_a_recipes_content_is_short_enough_for_a_runs_parameter_and_read_back_whole(name):
    spec = Spec(recipe=library_recipe(name).plain())
    text = spec.flat()["recipe"]
    assert text.startswith(f"{name} zlib:") and len(text) < 5000
    assert make_spec({"recipe": text}, "the parameters") == spec
    with pytest.raises(ConfigError, match="recipe: the recipe"):
        make_spec({"recipe": text[:-30]}, "the parameters")
