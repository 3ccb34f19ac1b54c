"""`autocast lint`."""

import onnx
import pytest

from tests.autocast_core.lint.planted import PLANTED


@pytest.fixture
def planted(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(PLANTED["casts up and down again"].model(), path)
    return path


def test_findings_are_lines_with_code_node_cost_and_remedy(autocast, planted):
    ended = autocast("lint", planted)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "AC201 warning: Casts that undo each other (1)",
        "  graph/c: undoes 'graph/b': FP16 to FP32 and back, which changes nothing [49,152 bytes]",
        "  costs: both casts move the whole tensor, and a 16-bit type between rounds it",
        "  fix:   remove both: read the value in front of the first one; or "
        "`autocast run FP32.onnx --calibration DATA`, which casts each value once",
        "nodes: 2 in fp16; attention cores: 0 of 0 whole",
    ]


def test_json_has_every_finding(autocast, planted):
    found = autocast("lint", planted, "--json").json
    assert (found["ok"], found["attention"], found["types"]) == (True, {"found": 0, "whole": 0}, {"fp16": 2})
    assert [(each["code"], each["node"]) for each in found["findings"]] == [("AC201", "graph/c")]


def test_strict_ends_with_3_where_there_are_findings_of_the_level(autocast, planted):
    ended = autocast("lint", planted, "--strict", "--json")
    assert ended.code == 3
    assert ended.errors == [f"error: {planted}: 1 finding"]
    assert [each["code"] for each in ended.json["findings"]] == ["AC201"]
    assert autocast("lint", planted, "--strict", "--level", "error").code == 0


def test_notes_are_shown_where_they_are_asked_for(autocast, tmp_path):
    onnx.save(PLANTED["a sum in FP16"].model(), tmp_path / "m.onnx")
    assert autocast("lint", tmp_path / "m.onnx", "--strict").code == 0
    assert "AC502 note: Sum in 16 bits (1)" in autocast("lint", tmp_path / "m.onnx", "--level", "note").out


def test_a_reference_is_compared(autocast, tmp_path):
    model = PLANTED["LogSoftmax in FP16"].model()
    onnx.save(model, tmp_path / "m.onnx")
    ended = autocast("lint", tmp_path / "m.onnx", "--reference", tmp_path / "none.onnx")
    assert ended.code == 2
    assert ended.errors == [f"error: {tmp_path / 'none.onnx'}: no such file: give the path of an .onnx file"]


def test_a_reference_that_has_none_of_the_weights_is_told(autocast, tmp_path):
    header = '<ir_version: 10, opset_import: ["" : 18]>'
    model = header + "g (float16[2] x) => (float16[2] y) <float16[2] w = {1, 2}> { y = Mul(x, w) }"
    onnx.save(onnx.parser.parse_model(model), tmp_path / "m.onnx")
    for name, count in (("other", 1), ("w", 0)):
        original = model.replace("float16", "float").replace(" w", f" {name}")
        onnx.save(onnx.parser.parse_model(original), tmp_path / "f.onnx")
        ended = autocast("lint", tmp_path / "m.onnx", "--reference", tmp_path / "f.onnx", "--strict")
        told = "nothing is compared with it; give the FP32 model that this one was made from"
        assert (ended.code, ended.err.count(told)) == (0, count)


@pytest.mark.parametrize("content", [b"", b"no model", b"<html></html>"])
def test_what_is_not_onnx_is_one_line(autocast, tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    ended = autocast("lint", tmp_path / "m.onnx")
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert ended.out == ""


def test_invalid_onnx_is_one_line(autocast, tmp_path):
    model = PLANTED["LogSoftmax in FP16"].model()
    del model.graph.node[0].input[:]
    onnx.save(model, tmp_path / "m.onnx")
    ended = autocast("lint", tmp_path / "m.onnx")
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert "LogSoftmax" in ended.errors[0]


def test_weights_that_are_missing_are_one_line(autocast, tmp_path):
    model = PLANTED["a weight stored twice"].model()
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    ended = autocast("lint", tmp_path / "m.onnx")
    assert ended.code == 2
    assert len(ended.errors) == 1
    assert "w.bin" in ended.errors[0]
