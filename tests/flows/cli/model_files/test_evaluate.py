"""`autocast evaluate`: models that feed each other."""

import numpy as np
import onnx
import pytest

from autocast_core import convert_file
from tests.flows.conversions import mlp
from tests.models.cached_decoder import VOCABULARY, build_cached_decoder

KEYS = {"ok", "error", "depth", "batches", "fidelity", "stages", "gates", "converted", "warnings", "versions"}
CHAT = """
evaluation: prompts.npz
stages:
  decoder:
    model: decoder.onnx
    spec: {precision: fp16}
    generate:
      tokens: input_ids
      max_new_tokens: 6
      cache: {past_*: present_*}
      attention_mask: attention_mask
      position_ids: position_ids
gates: [decoder.tokens.equal_share>=0.9, sqnr_db>=SQNR]
"""
TWICE = """
evaluation: data.npz
stages:
  first: {model: first.onnx}
  again: {model: again.onnx, inputs: {z: first.y}}
"""
AGAIN = '<ir_version: 8, opset_import: ["": 17]> again (float[N, 4] z) => (float[N, 4] y) { y = Softmax(z) }'


@pytest.fixture
def chat(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    build_cached_decoder(tmp_path / "decoder.onnx")
    ids = np.random.default_rng(7).integers(0, VOCABULARY, (2, 5))
    np.savez(tmp_path / "prompts.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    (tmp_path / "chat.yaml").write_text(CHAT.replace("SQNR", "40"))
    return tmp_path


@pytest.fixture
def twice(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    mlp(tmp_path / "first.onnx")
    onnx.save(onnx.parser.parse_model(AGAIN), tmp_path / "again.onnx")
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(1).normal(size=(6, 8)).astype("f4"))
    convert_file(tmp_path / "first.onnx", tmp_path / "low.onnx", calibration=tmp_path / "data.npz")
    (tmp_path / "twice.yaml").write_text(TWICE)
    return tmp_path


def test_a_model_that_generates_is_converted_and_judged(autocast, chat):
    ended = autocast("evaluate", chat / "chat.yaml", "--output", chat / "out", "--json")
    assert ended.code == 0
    found = ended.json
    assert set(found) == KEYS
    assert (found["depth"], found["batches"]) == ("simulated", 2)
    assert found["fidelity"]["fidelity/outputs/decoder_tokens/equal_share"] == 1.0
    assert [gate["passed"] for gate in found["gates"]] == [True, True]
    assert found["converted"] == {"decoder": str(chat / "out" / "decoder.onnx")}
    assert (chat / "out" / "decoder.onnx").is_file()


def test_a_missed_gate_is_exit_code_3_and_says_what_was_measured(autocast, chat):
    (chat / "chat.yaml").write_text(CHAT.replace("SQNR", "150"))
    ended = autocast("evaluate", chat / "chat.yaml", "--json")
    assert ended.code == 3
    assert not ended.json["ok"] and ended.json["fidelity"]["fidelity/sqnr_db"] < 150
    assert len(ended.errors) == 1 and "gate failed: sqnr_db>=150" in ended.errors[0]


def test_the_candidate_of_a_stage_is_given_on_the_command_line(autocast, twice):
    files = ("evaluate", twice / "twice.yaml", "--candidate", f"first={twice / 'low.onnx'}")
    shown = autocast(*files, "--each-stage")
    assert shown.code == 0
    assert "measured by onnxruntime-cpu over 6 batches of evaluation data" in shown.out
    assert "fidelity/outputs/again_y/sqnr_db" in shown.out


def test_candidates_are_executed_in_onnxruntime_too(autocast, twice):
    files = ("evaluate", twice / "twice.yaml", "--candidate", f"first={twice / 'low.onnx'}")
    found = autocast(*files, "--on", "onnxruntime", "--json").json
    assert found["depth"] == "executed" and found["fidelity"]["fidelity/sqnr_db"] > 40


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "twice.yaml: no stage has a `candidate` or a `spec`"),
        (("--candidate", "low.onnx"), "--candidate low.onnx: give STAGE=MODEL"),
        (("--candidate", "third=low.onnx"), "has no stage 'third'; it has first, again"),
        (("--candidate", "again=none.onnx"), "twice.yaml: stages.again.candidate: model none.onnx does not exist"),
        (("--on", "tensorrt"), "--on tensorrt: give simulation or onnxruntime"),
    ],
)
def test_bad_input_is_one_line(autocast, twice, options, said):
    ended = autocast("evaluate", twice / "twice.yaml", *options)
    assert ended.code == 2 and len(ended.errors) == 1 and said in ended.errors[0]
    assert "Traceback" not in ended.err


def test_an_isolated_process_measures_the_same(autocast, twice, monkeypatch):
    files = ("evaluate", twice / "twice.yaml", "--candidate", f"first={twice / 'low.onnx'}", "--json")
    here = autocast(*files).json["fidelity"]
    monkeypatch.setenv("AUTOCAST_ISOLATION", "process")
    assert autocast(*files).json["fidelity"] == here
