"""`autocast run`: JSON, exit codes, words."""

import numpy as np
import onnx
import pytest

from flows.cli.run import HELP, KEYS
from tests.flows.conversions import batches, mlp, registered, runs_of

pytestmark = pytest.mark.xdist_group("commands")


def test_json_is_one_object_with_the_promised_keys(autocast, workplace):
    model, data = mlp(workplace / "promised.onnx"), batches(workplace / "d.npz")
    ended = autocast("run", model, "--calibration", data, "--output", workplace / "out.onnx", "--json")
    assert ended.code == 0
    found = ended.json
    assert set(found) == {"ok", "error", *KEYS}
    assert (found["ok"], found["error"]) == (True, None)
    assert found["output"] == str(workplace / "out.onnx")
    assert found["registered"] == "models:/promised-fp16/1"
    assert [gate["expression"] for gate in found["gates"]] == ["worst_batch.sqnr_db>=40", "no_new_nonfinite"]
    assert all(gate["passed"] for gate in found["gates"]) and found["warnings"] == []
    assert found["timings"]["fetch"] >= 0


def test_words_name_the_result_the_log_file_and_every_stage(autocast, workplace):
    ended = autocast("run", mlp(workplace / "words.onnx"), "--calibration", batches(workplace / "d.npz"))
    assert ended.code == 0
    assert "Converted 3/3 nodes (100.00%) to fp16" in ended.out
    assert "models:/words-fp16/1" in ended.out
    for words in ("Before and after", "Casts inserted", "worst_batch.sqnr_db>=40", "passed", "dB"):
        assert words in ended.out
    assert "evaluate: done after" in ended.err
    logs = list((workplace / ".autocast" / "logs").iterdir())
    assert len(logs) == 1 and ended.err.count(str(logs[0])) == 1
    assert "prefect" in logs[0].read_text()
    assert "Beginning flow run" not in ended.err


def test_a_missed_gate_exits_with_3_and_still_tells_the_metrics(autocast, workplace):
    spec = workplace / "spec.yaml"
    spec.write_text("gates: ['rel_l2<=1e-12']\n")
    model, data = mlp(workplace / "gate.onnx"), batches(workplace / "d.npz")
    ended = autocast("run", model, "--calibration", data, "--spec", spec, "--json")
    assert ended.code == 3
    assert ended.json["ok"] is False
    assert ended.json["metrics"]["fidelity/rel_l2"] > 1e-12
    assert ended.json["gates"][0]["passed"] is False
    assert ended.json["registered"] is None
    assert len(ended.errors) == 1


def test_every_example_of_the_help_has_data_to_judge_the_model_on_or_writes_nothing():
    examples = [line.strip() for line in HELP.splitlines() if line.startswith("  autocast run ")]
    assert len(examples) >= 5
    for example in examples:
        assert any(f" {option}" in example for option in ("--calibration", "--evaluation", "--spec", "--dry-run")), (
            example
        )


def test_bad_input_that_is_seen_at_once_starts_nothing(autocast, workplace):
    ended = autocast("run", workplace / "none.onnx", "--json")
    assert ended.code == 2
    assert (
        ended.json["error"] == f"model {workplace / 'none.onnx'} does not exist: give the path or URI of an ONNX file"
    )
    assert set(ended.json) == {"ok", "error", *KEYS}
    assert not (workplace / ".autocast").exists()
    assert runs_of(workplace / "none.onnx") == []


def test_data_that_does_not_fit_starts_nothing(autocast, workplace):
    model = mlp(workplace / "fits.onnx")
    wrong = batches(workplace / "d.npz", other=np.zeros((2, 8), "f4"))
    ended = autocast("run", model, "--calibration", wrong)
    assert ended.code == 2 and "no array 'x' (found 'other')" in ended.errors[0]
    assert not (workplace / ".autocast").exists()


def test_without_data_to_judge_it_on_nothing_is_started(autocast, workplace):
    model = mlp(workplace / "bare.onnx")
    ended = autocast("run", model)
    assert ended.code == 2 and "no data to judge the converted model on" in ended.errors[0]
    assert not (workplace / ".autocast").exists()


def test_bad_input_that_the_flow_sees_names_the_run(autocast, workplace):
    model = workplace / "dangling.onnx"
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 8] x) => (float[N, 8] y) { y = Relu(nothing) }'
    onnx.save(onnx.parser.parse_model(text), model)
    ended = autocast("run", model, "--calibration", batches(workplace / "d.npz"), "--json")
    assert ended.code == 2 and "nothing" in ended.json["error"]
    assert ended.json["run_id"] == runs_of(model)[0].info.run_id
    assert len(ended.errors) == 1
    assert "Traceback" not in ended.err


def test_a_wrong_option_in_the_spec_file_names_file_line_and_key(autocast, workplace):
    spec = workplace / "spec.yaml"
    spec.write_text("precision: fp16\ndata_maximum: 1\n")
    ended = autocast("run", mlp(workplace / "m.onnx"), "--spec", spec)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert f"{spec}: line 2: there is no option 'data_maximum'" in ended.err


def test_the_source_is_never_overwritten(autocast, workplace):
    model = mlp(workplace / "m.onnx")
    before = model.read_bytes()
    ended = autocast("run", model, "--output", model)
    assert ended.code == 2 and "is the source itself" in ended.err
    assert model.read_bytes() == before


def test_a_dry_run_prints_the_plan_as_json(autocast, workplace):
    model = mlp(workplace / "dry.onnx")
    ended = autocast("run", model, "--calibration", batches(workplace / "d.npz"), "--dry-run", "--json")
    assert ended.code == 0
    assert ended.json["plan"]["precision"] == "fp16"
    assert len(ended.json["plan"]["nodes"]) == 3
    assert ended.json["run_id"] is None and ended.json["output"] is None
    assert registered("dry-fp16") == []
