"""The search as a function of files."""

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, Precision, convert_file, tune_file
from autocast_core.errors import GateError, ModelError
from tests.autocast_core.search.planted import SENSITIVE, names, planted_model

CONFIG = ConversionConfig(batch_size=8)


@pytest.fixture
def files(tmp_path):
    """Paths of the planted model and its data."""
    proto, data = planted_model()
    onnx.save(proto, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", **data)
    return tmp_path / "m.onnx", tmp_path / "d.npz"


def test_the_plan_of_a_file_converts_it(files, tmp_path):
    model, data = files
    found = tune_file(model, data, ["sqnr_db>=50", "no_new_nonfinite"], CONFIG, trials=tmp_path / "t.jsonl")
    assert found.complete and names(found.kept_fp32) <= SENSITIVE
    converted = convert_file(model, tmp_path / "low.onnx", plan=found.plan)
    kept = {node.id for node in converted.plan.nodes if node.precision is Precision.FP32}
    # Angles are exact quantities, which no search lowers.
    assert kept == {*found.kept_fp32, "graph/angle", "graph/wave"}
    assert found.plan.engine_version
    again = tune_file(model, data, ["sqnr_db>=50", "no_new_nonfinite"], CONFIG, trials=tmp_path / "t.jsonl")
    assert again.plan.to_json() == found.plan.to_json()


def test_a_search_in_segments_finds_what_the_search_of_the_whole_does(files):
    model, data = files
    whole, cut = (
        tune_file(model, data, ["sqnr_db>=50"], ConversionConfig(batch_size=8, segments=parts)) for parts in (1, 4)
    )
    assert cut.kept_fp32 == whole.kept_fp32 != ()
    assert [trial.kept for trial in cut.trials] == [trial.kept for trial in whole.trials]
    for left, right in zip(cut.trials, whole.trials, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=1e-4, abs=1e-6, nan_ok=True)


def test_what_no_plan_reaches_is_a_missed_gate(files):
    model, data = files
    with pytest.raises(GateError, match="not even the all-FP32 model"):
        tune_file(model, data, ["sqnr_db>=201"], CONFIG)


def test_a_file_that_is_no_model_is_refused(files):
    with pytest.raises(ModelError):
        tune_file(files[1], files[1], ["sqnr_db>=40"])
