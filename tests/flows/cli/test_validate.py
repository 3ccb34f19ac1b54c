"""`autocast validate`: any converted model against its original."""

import pytest

from autocast_core import convert_file
from tests.flows.conversions import batches, mlp

KEYS = {"ok", "error", "depth", "skipped", "fidelity", "layers", "versions"}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    batches(tmp_path / "d.npz")
    convert_file(mlp(tmp_path / "m.onnx"), tmp_path / "low.onnx", calibration=tmp_path / "d.npz")
    return tmp_path


@pytest.mark.parametrize(
    ("backend", "depth", "prefix"),
    [("simulation", "simulated", "fidelity.worst"), ("onnxruntime", "executed", "fidelity_onnxruntime.worst")],
)
def test_a_model_is_measured(autocast, pair, backend, depth, prefix):
    files = ("validate", pair / "low.onnx", "--reference", pair / "m.onnx")
    ended = autocast(*files, "--evaluation", pair / "d.npz", "--on", backend, "--json")
    assert ended.code == 0
    found = ended.json
    assert set(found) == KEYS
    assert found["depth"] == depth
    assert 0 < found["fidelity"][f"{prefix}.rel_l2"] < 5e-3
    assert "onnxruntime" in found["versions"]


def test_tensorrt_judges_or_says_why_not(autocast, pair):
    ended = autocast("validate", pair / "low.onnx", "--reference", pair / "m.onnx", "--on", "tensorrt", "--json")
    assert ended.code == 0
    assert ended.json["depth"] != "none" or ended.json["skipped"]


def test_another_model_is_refused(autocast, pair):
    (pair / "no.onnx").write_text("<html>")
    ended = autocast("validate", pair / "no.onnx", "--reference", pair / "m.onnx")
    assert ended.code == 2 and len(ended.errors) == 1
