"""What a measured decision keeps in FP32 of real architectures: nothing that costs Casts and gains no accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from autocast_core import ConversionConfig
from autocast_core.apply import apply_plan
from autocast_core.pipeline.artifacts import SanitizedSource
from autocast_core.pipeline.convert import planning_stages
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.stage import in_this_process, run_stages
from autocast_core.pipeline.stages.evaluate import SIMULATION, evaluate_candidate
from autocast_core.pipeline.stages.load import LOAD
from autocast_core.plan import PrecisionPlan
from tests.models import build

EVERYTHING_LOW = {"data_max": math.inf, "init_max": math.inf, "small_values": False}
"""What `convert_to_f16` asks: every node that may be low is, but for guards and exact quantities."""

WITHIN = 0.5
"""Decibels in which SQNRs count as the same."""


@dataclass(frozen=True)
class CastsAndFidelity:
    casts: int
    sqnr_db: float
    """Of the worst output, in simulation on evaluation data."""


def converted(model: Path, calibration: Path, evaluation: Path, **options) -> CastsAndFidelity:
    job = Job(model, ConversionConfig(**options), calibration, evaluation)
    planned = run_stages((LOAD, *planning_stages(job.config)), in_this_process(job))
    applied = apply_plan(planned[SanitizedSource].model, planned[PrecisionPlan])
    metrics = evaluate_candidate(job, applied.model, (SIMULATION,)).metrics
    return CastsAndFidelity(applied.casts_inserted, metrics["fidelity/sqnr_db"])


def require_nothing_needless(model: Path, calibration: Path, evaluation: Path) -> None:
    """By measurement no Cast that everything low lacks, and no less accuracy than by thresholds."""
    measured = converted(model, calibration, evaluation, decide="measured")
    lowest = converted(model, calibration, evaluation, **EVERYTHING_LOW)
    thresholds = converted(model, calibration, evaluation)
    assert measured.casts <= lowest.casts
    assert measured.sqnr_db >= max(lowest.sqnr_db, thresholds.sqnr_db) - WITHIN


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("t5_small", 2),
        ("llama_100m", 2),
        *(pytest.param(name, 2, marks=pytest.mark.slow) for name in ("gpt2", "bert_base")),
        *(pytest.param(name, None, marks=pytest.mark.slow) for name in ("gpt2", "t5_small", "llama_100m", "bert_base")),
    ],
)
def test_architectures_get_no_cast_that_everything_low_lacks(name, layers, tmp_path):
    built = build(name, tmp_path, layers=layers)
    require_nothing_needless(built.path, built.calibration, built.evaluation)


def convnext(blocks: int, width: int) -> onnx.ModelProto:
    """A stage of ConvNeXt (Liu et al., 2022): 7x7 depthwise convolution, LayerNorm, two products around a GELU, and a
    layer scale of 1e-6, as before training, in front of the residual sum."""
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    lines, value = [], "x"
    for index in range(blocks):
        shapes = {"k": (width, 1, 7, 7), "up": (width, 4 * width), "down": (4 * width, width)}
        for name, shape in shapes.items():
            weights[f"{name}{index}"] = rng.standard_normal(shape) * (1.0 / math.sqrt(np.prod(shape) / max(shape)))
        weights |= {f"one{index}": np.ones(width), f"gamma{index}": np.full(width, 1e-6)}
        lines.append(
            f"""a{index} = Conv<group = {width}, pads = [3, 3, 3, 3]>({value}, k{index})
            b{index} = Transpose<perm = [0, 2, 3, 1]>(a{index})
            c{index} = LayerNormalization(b{index}, one{index}) d{index} = MatMul(c{index}, up{index})
            e{index} = Div(d{index}, root) f{index} = Erf(e{index}) g{index} = Add(f{index}, one)
            h{index} = Mul(d{index}, g{index}) i{index} = Mul(h{index}, half) j{index} = MatMul(i{index}, down{index})
            l{index} = Mul(j{index}, gamma{index}) m{index} = Transpose<perm = [0, 3, 1, 2]>(l{index})
            y{index} = Add({value}, m{index})"""
        )
        value = f"y{index}"
    graph = f"""g (float[N, {width}, 14, 14] x) => (float[N, {width}, 14, 14] {value})
      <float root = {{1.4142135}}, float one = {{1}}, float half = {{0.5}}> {{ {" ".join(lines)} }}"""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]>\n{graph}')
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array.astype(np.float32), name))
    return model


def test_layer_scales_of_convnext_keep_nothing(tmp_path):
    onnx.save(convnext(blocks=3, width=32), tmp_path / "model.onnx")
    rng = np.random.default_rng(1)
    for name in ("calibration", "evaluation"):
        np.savez(tmp_path / f"{name}.npz", x=rng.standard_normal((4, 32, 14, 14)).astype(np.float32))
    paths = (tmp_path / "model.onnx", tmp_path / "calibration.npz", tmp_path / "evaluation.npz")
    assert converted(*paths).casts > 0
    require_nothing_needless(*paths)
