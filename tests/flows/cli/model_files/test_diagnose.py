"""`autocast diagnose`: where a model goes wrong."""

import json

import numpy as np
import onnx
import pytest

from autocast_core import convert_file
from flows.cli.model_files.diagnose import KEYS
from tests.autocast_core.diagnose.diagnosed import model, normal, whole_fp16


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    source = model(
        "a = Mul(x, k)\nb = Mul(a, a)\nc = Div(a, b)\nd = Mul(c, k)\ny = Add(d, x)",
        "(float[N, 16] x) => (float[N, 16] y)",
        "float k = {500.0}",
    )
    onnx.save(source, tmp_path / "m.onnx")
    onnx.save(whole_fp16(source), tmp_path / "low.onnx")
    np.savez(tmp_path / "d.npz", x=np.abs(normal(8, 16)) + 0.6)
    return tmp_path


def test_the_culprit_is_named_and_the_reference_converted_without_it(autocast, files):
    ended = autocast(
        *("diagnose", files / "m.onnx", files / "low.onnx", "--data", files / "d.npz", "--json"),
        *("--html", files / "d.html", "--fix", files / "fixed.onnx"),
    )
    assert ended.code == 3
    assert set(ended.json) == {"ok", "error", *KEYS}
    assert ended.json["culprits"][0]["kind"] == "overflow"
    assert ended.json["culprits"][0]["reference_value"] == "b"
    assert "Overflow at graph/Mul" in ended.errors[-1]
    assert "finite values become infinite" in (files / "d.html").read_text()
    assert ended.json["fixed"]["sentence"].startswith("No divergence")
    assert (files / "fixed.onnx").is_file()


def test_the_culprit_is_reproduced_in_a_folder(autocast, files):
    ended = autocast(
        *("diagnose", files / "m.onnx", files / "low.onnx", "--data", files / "d.npz", "--reproduce", files / "fault"),
        "--json",
    )
    assert ended.code == 3
    assert ended.json["reproduction"] == {"folder": str(files / "fault"), "reason": None}
    assert (files / "fault" / "reproduce.py").is_file() and (files / "fault" / "README.md").is_file()


def test_models_that_agree_have_no_reproduction_and_it_is_said_why(autocast, files):
    ended = autocast("diagnose", files / "m.onnx", files / "m.onnx", "--reproduce", files / "fault")
    assert ended.code == 0
    assert "no reproduction: there is no culprit to reproduce" in ended.out
    assert not (files / "fault").exists()


def test_models_that_agree_end_with_0(autocast, files):
    ended = autocast("diagnose", files / "m.onnx", files / "m.onnx")
    assert ended.code == 0
    assert "No divergence" in ended.out
    assert "seeded random data" in ended.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--map", "x"), "write REFERENCE=CANDIDATE"),
        (("--map", "x=z"), "inputs differ"),
        (("--tolerance", "nan"), "give a number of decibels"),
        (("--data", "none.npz"), "none.npz"),
        (("--html", "/none/d.html"), "there is no folder /none"),
        (("--fix", "/none/fixed.onnx"), "there is no folder /none"),
        (("--html", "REFERENCE"), "m.onnx: is the input"),
        (("--fix", "REFERENCE"), "m.onnx: is the input"),
    ],
)
def test_bad_input_is_one_line_and_ends_with_2(autocast, files, options, message):
    given = (files / "m.onnx" if each == "REFERENCE" else each for each in options)
    ended = autocast("diagnose", files / "m.onnx", files / "m.onnx", *given)
    assert ended.code == 2
    assert len(ended.errors) == 1 and message in ended.errors[0]


def test_a_warning_is_a_line_of_the_form_of_all_commands(autocast, files):
    np.savez(files / "more.npz", x=normal(8, 16), label=np.zeros(8))
    ended = autocast("diagnose", files / "m.onnx", files / "m.onnx", "--data", files / "more.npz")
    assert ended.code == 0
    said = f"warning: {files / 'more.npz'}: array 'label' is not an input of the model and is ignored"
    assert ended.err.splitlines() == [said]


def test_the_edit_of_a_plan_that_is_shown_keeps_the_culprit_in_fp32(autocast, files):
    pair = ("diagnose", files / "m.onnx", files / "low.onnx", "--data", files / "d.npz")
    assert 'in a plan of the reference: autocast plan import \'{"node_block_list": ["Mul_2"' in autocast(*pair).out
    edit = autocast(*pair, "--json").json["culprits"][0]["remedy"]["plan_edit"]
    plan = files / "plan.json"
    plan.write_text(convert_file(files / "m.onnx", files / "converted.onnx").plan.to_json())
    ended = autocast("plan", "import", json.dumps(edit), plan, "--output", files / "edited.json")
    assert ended.code == 0
    edited = {each["id"]: each["precision"] for each in json.loads((files / "edited.json").read_text())["nodes"]}
    assert {edited[f"graph/{name}"] for name in edit["node_block_list"]} == {"fp32"}
