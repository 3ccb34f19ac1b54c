"""Conversions with corrected biases: more accurate on data that was not looked at, and made again by their plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec import UNSET

from autocast_core import ConversionConfig, convert_file
from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.data import input_specs, open_batches
from autocast_core.evaluate import compare
from autocast_core.model import load_model
from autocast_core.simulate import simulate

TEXT = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[N, 64] x) => (float[N, 8] y) <float[8] b = {0, 0, 0, 0, 0, 0, 0, 0}> {
    [product] a = MatMul(x, w) [sum] y = Add(a, b)
}"""
LOW = {"nodes_to_include": ("product",), "batch_size": 32}
CONFIG = ConversionConfig(**LOW, correct_biases=True)


def network(path: Path, seed: int = 0) -> Path:
    """Its weights sum up to 0, so that of rows around 1 little is left but what the rounding of weights does."""
    weights = np.random.default_rng(seed).normal(size=(64, 8)).astype(np.float32)
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights - weights.mean(axis=0), "w"))
    onnx.save(model, path)
    return path


def rows(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Rows that FP16 holds exactly."""
    return {"x": 1 + np.random.default_rng(seed).integers(-64, 64, (count, 64)).astype(np.float32) / 1024}


def sqnr_db(source: Path, converted: Path) -> float:
    runtime, model = OnnxRuntime(("cpu",)), load_model(source)
    sessions = [runtime.open(model), runtime.open(simulate(load_model(converted)))]
    return compare(*sessions, open_batches(rows(64, 2), input_specs(model))).worst.sqnr_db


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return network(tmp_path / "m.onnx")


def test_other_data_gains_from_corrected_biases(source: Path) -> None:
    plain, better = source.with_name("plain.onnx"), source.with_name("better.onnx")
    convert_file(source, plain, ConversionConfig(**LOW), calibration=rows(128))
    plan = convert_file(source, better, CONFIG, calibration=rows(128)).plan
    assert [each.product for each in plan.biases.corrections] == ["graph/product"]
    assert "1 biases are corrected: from " in plan.summary()
    assert plan.biases.sqnr_db_after > plan.biases.sqnr_db_before + 6
    assert sqnr_db(source, better) > sqnr_db(source, plain) + 6


def test_a_plan_with_corrections_makes_the_same_model_again(source: Path) -> None:
    first = convert_file(source, source.with_name("first.onnx"), CONFIG, calibration=rows(128))
    again = convert_file(source, source.with_name("again.onnx"), plan=first.plan)
    assert first.plan.biases is not UNSET
    assert again.output.sha256 == first.output.sha256


def test_other_weights_get_no_corrections_of_these(source: Path) -> None:
    plan = convert_file(source, source.with_name("first.onnx"), CONFIG, calibration=rows(128)).plan
    other = network(source.with_name("other.onnx"), seed=5)
    made = convert_file(other, source.with_name("low.onnx"), plan=plan)
    assert made.plan.biases is UNSET
    assert "its corrections of biases, which are for those weights, are left out" in made.plan.warnings[-1]


@pytest.mark.parametrize("calibration", [None, rows(32)])
def test_without_a_batch_to_hold_out_biases_stay_and_a_warning_says_so(source: Path, calibration) -> None:
    made = convert_file(source, source.with_name("low.onnx"), CONFIG, calibration=calibration)
    assert made.plan.biases is UNSET
    assert [each for each in made.warnings if each.startswith("biases are not corrected: they need two batches")]


def test_corrections_that_do_not_help_the_batch_that_is_held_out_are_dropped(source: Path) -> None:
    there_and_back = {"x": np.concatenate([rows(96)["x"], -rows(32, 3)["x"]])}
    made = convert_file(source, source.with_name("low.onnx"), CONFIG, calibration=there_and_back)
    assert made.plan.biases is UNSET
    assert "on a batch that was held out" in made.plan.warnings[-1]
