"""Judges in the pipeline: what an evaluation and a search make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig, convert_file, tune_file
from autocast_core.errors import ConfigError, DataError
from autocast_core.evaluate import AskedGates
from autocast_core.evaluate.metric_names import ONNXRUNTIME, SIMULATION
from autocast_core.model import load_model
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stages.evaluate import Evaluated, evaluate_candidate
from tests.models.tiny_detector import pictures, tiny_detector

LOWERED = ConversionConfig(data_max=float("inf"), op_types_to_include=(".*",))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """The detector, its FP16 form and pictures."""
    folder = tmp_path_factory.mktemp("detector")
    onnx.save(tiny_detector(), folder / "m.onnx")
    np.savez(folder / "pictures.npz", picture=pictures(24))
    convert_file(folder / "m.onnx", folder / "low.onnx", LOWERED, calibration=folder / "pictures.npz")
    return folder / "m.onnx", folder / "low.onnx", folder / "pictures.npz"


def evaluated(
    files: tuple[Path, Path, Path], *judges: str, gates: tuple[str, ...] = (), batch_size: int = 1
) -> Evaluated:
    source, low, data = files
    config = ConversionConfig(judges=judges, batch_size=batch_size)
    job = Job(source, config, evaluation=data, gates=AskedGates(gates))
    return evaluate_candidate(job, load_model(low), (SIMULATION, ONNXRUNTIME))


def test_the_judges_of_options_and_gates_judge_the_simulation(files: tuple[Path, Path, Path]) -> None:
    found = evaluated(files, "boxes:layout=yolov8,score=0.3", gates=("tokens.agreement>=0.5",))
    assert 300 < found.metrics["task/boxes/count"] < 342
    assert 0.5 < found.metrics["task/tokens/agreement"] < 1.0
    assert found.places["task/tokens/worst_batch/agreement"].endswith(" of 24")


def test_without_a_judge_asked_for_there_is_none(files: tuple[Path, Path, Path]) -> None:
    assert evaluated(files).task == {}


def test_an_unreadable_output_and_an_unknown_judge_are_errors(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(DataError, match=r"judge embeddings cannot read the outputs output0 \[1, 6, 64\] float32"):
        evaluated(files, "embeddings")
    with pytest.raises(ConfigError, match="unknown judge 'box'; known are boxes, masks"):
        evaluated(files, "box")


def test_a_search_keeps_what_a_budget_on_boxes_needs_and_shows_what_is_lost_without(
    files: tuple[Path, Path, Path],
) -> None:
    source, _, data = files
    found = tune_file(source, data, ["boxes.lost<=0", "boxes.map_ratio>=0.995"], ConversionConfig(batch_size=8))
    assert found.metrics["task/boxes/lost"] == 0.0
    assert found.kept_fp32
    for entry in found.certificate:
        assert entry.failing[0].expression == "boxes.lost<=0"
        assert entry.metrics["task/boxes/lost"] > 0


def test_a_budget_on_labels_needs_labels(files: tuple[Path, Path, Path]) -> None:
    with pytest.raises(DataError, match=r"'boxes.map_drop<=0.01' needs labels"):
        tune_file(files[0], files[2], ["boxes.map_drop<=0.01"])
