"""`autocast plan import`: other tools' settings as a spec or as an edited plan."""

import json

import pytest
import yaml

from autocast_core import ConversionConfig, convert_file
from tests.flows.conversions import batches, mlp


@pytest.fixture
def folder(tmp_path):
    """A model, its plan, and files of settings."""
    done = convert_file(
        mlp(tmp_path / "m.onnx"), tmp_path / "o.onnx", ConversionConfig(), calibration=batches(tmp_path / "d.npz")
    )
    (tmp_path / "plan.json").write_text(done.plan.to_json())
    (tmp_path / "blocked.json").write_text(json.dumps({"node_block_list": ["second"]}))
    return tmp_path


def test_a_model_gets_a_spec(autocast, folder):
    ended = autocast(
        "plan",
        "import",
        "*:fp16,second:fp32,absent:fp32,first:int8",
        folder / "m.onnx",
        "--output",
        folder / "spec.yaml",
    )
    assert ended.code == 0
    assert yaml.safe_load((folder / "spec.yaml").read_text()) == {
        "precision": "fp16",
        "nodes_to_exclude": ["second$"],
        "nodes_to_include": ["(?!(?:second)$)"],
    }
    assert "warning: 'absent' names no node" in ended.out
    assert "warning: 'first:int8' is no choice of this converter" in ended.out


def test_without_an_output_the_options_are_printed(autocast, folder):
    ended = autocast("plan", "import", folder / "blocked.json", folder / "m.onnx")
    assert yaml.safe_load(ended.out) == {"nodes_to_exclude": ["second$"]}


def test_settings_may_be_longer_than_the_name_of_a_file(autocast, folder):
    text = ",".join([f"node_{number}:fp16" for number in range(1000)] + ["second:fp32"])
    ended = autocast("plan", "import", text, folder / "m.onnx", "--json")
    assert ended.json["options"] == {"nodes_to_exclude": ["second$"]} and len(ended.json["unmatched"]) == 1000


def test_a_plan_is_edited(autocast, folder):
    ended = autocast(
        "plan", "import", folder / "blocked.json", folder / "plan.json", "--output", folder / "e.json", "--json"
    )
    assert ended.json["changed"] == 1 and ended.json["summary"] == "Converted 2/3 nodes (66.67%) to fp16"
    assert autocast("plan", "apply", folder / "e.json", folder / "m.onnx", folder / "again.onnx").code == 0


@pytest.mark.parametrize(
    ("settings", "subject", "output", "said"),
    [
        ("second:fp99", "m.onnx", None, "is not NAME:TYPE"),
        ("absent.json", "m.onnx", None, "absent.json: no such file"),
        ("second:fp32", "absent.onnx", None, "absent.onnx: no such file"),
        ("second:fp32", "absent.json", "e.json", "absent.json: no such file"),
        ("second:fp32", "plan.json", None, "--output is missing"),
        ("absent:fp32", "m.onnx", None, "reach no node"),
        ("second:fp32", "m.onnx", "m.onnx", "m.onnx: is "),
        ("second:fp32", "plan.json", "plan.json", "plan.json: is "),
        ("second:fp32", "m.onnx", "no_folder/spec.yaml", "no_folder"),
        ("o.onnx", "m.onnx", None, "cannot be read"),
        (".", "m.onnx", None, "is a folder, pipe or device"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(autocast, folder, settings, subject, output, said):
    given = folder / settings if "." in settings else settings
    options = () if output is None else ("--output", folder / output)
    ended = autocast("plan", "import", given, folder / subject, *options)
    assert ended.code == 2 and len(ended.errors) == 1 and said in ended.errors[0]
