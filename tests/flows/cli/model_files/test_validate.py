"""`autocast validate`: any converted model against its original."""

import pytest

from autocast_core import convert_file
from tests.flows.conversions import batches, mlp

KEYS = {"ok", "error", "depth", "skipped", "fidelity", "layers", "engine_view", "fp32_view", "estimates", "versions"}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOCAST_HOME", str(tmp_path / "home"))
    batches(tmp_path / "d.npz")
    convert_file(mlp(tmp_path / "m.onnx"), tmp_path / "low.onnx", calibration=tmp_path / "d.npz")
    return tmp_path


@pytest.mark.parametrize(
    ("backend", "depth", "prefix"),
    [("simulation", "simulated", "fidelity"), ("onnxruntime", "executed", "fidelity_onnxruntime")],
)
def test_a_model_is_measured(autocast, pair, backend, depth, prefix):
    files = ("validate", pair / "low.onnx", "--reference", pair / "m.onnx")
    ended = autocast(*files, "--evaluation", pair / "d.npz", "--on", backend, "--json")
    assert ended.code == 0
    found = ended.json
    assert set(found) == KEYS
    assert found["depth"] == depth
    assert 0 < found["fidelity"][f"{prefix}/rel_l2"] < 5e-3
    assert "onnxruntime" in found["versions"]


def test_the_noise_floor_stands_beside_the_fidelity(autocast, pair):
    files = ("validate", pair / "low.onnx", "--reference", pair / "m.onnx", "--evaluation", pair / "d.npz")
    fidelity = autocast(*files, "--json").json["fidelity"]
    assert fidelity["noise_floor/sqnr_db"] > fidelity["fidelity/sqnr_db"] + 20


def test_a_metric_of_ones_own_is_measured_of_both_models(autocast, pair, monkeypatch):
    monkeypatch.chdir(pair)
    (pair / "my_closeness.py").write_text(
        "def mean(outputs, labels):\n    assert labels is None\n    return abs(outputs['y']).mean()\n"
    )
    files = ("validate", "low.onnx", "--reference", "m.onnx", "--evaluation", "d.npz", "--metric", "my_closeness:mean")
    fidelity = autocast(*files, "--json").json["fidelity"]
    assert fidelity["task/metric_ratio"] == fidelity["task/metric"] / fidelity["task/metric_fp32"] != 1.0


def test_a_metric_that_cannot_be_measured_is_one_line(autocast, pair, monkeypatch):
    monkeypatch.chdir(pair)
    (pair / "my_broken.py").write_text("def mean(outputs, labels):\n    return outputs['logits']\n")
    files = ("validate", "low.onnx", "--reference", "m.onnx", "--metric")
    for metric, message in (
        ("my_broken:mean", "raises KeyError: 'logits'"),
        ("my_broken:none", "cannot be imported"),
        ("mean", "metric"),
    ):
        ended = autocast(*files, metric)
        assert ended.code == 2 and len(ended.errors) == 1 and message in ended.errors[0]
        assert "Traceback" not in ended.err
    assert "in mean" in "".join(path.read_text() for path in (pair / "home" / "logs").iterdir())
    ended = autocast(*files, "my_broken:mean", "--on", "tensorrt")
    assert ended.code == 2 and "--on simulation or onnxruntime" in ended.errors[0]


def test_a_person_reads_on_what_was_measured_and_which_batch_is_worst(autocast, pair):
    files = ("validate", pair / "low.onnx", "--reference", pair / "m.onnx")
    out = autocast(*files, "--evaluation", pair / "d.npz").out
    assert "over 6 batches of evaluation data" in out and "worst batch of y: " in out
    assert "seeded random data" in autocast(*files).out


def test_tensorrt_judges_or_says_why_not(autocast, pair):
    ended = autocast("validate", pair / "low.onnx", "--reference", pair / "m.onnx", "--on", "tensorrt", "--json")
    assert ended.code == 0
    assert ended.json["depth"] != "none" or ended.json["skipped"]


def test_another_model_is_refused(autocast, pair):
    (pair / "no.onnx").write_text("<html>")
    ended = autocast("validate", pair / "no.onnx", "--reference", pair / "m.onnx")
    assert ended.code == 2 and len(ended.errors) == 1
