"""Repairs of range in conversions: what they rescue, and that plans make them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from msgspec.structs import replace

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.calibrate import calibrate
from autocast_core.config import ConversionConfig, Precision
from autocast_core.errors import PlanError
from autocast_core.evaluate import compare
from autocast_core.pipeline.artifacts import Converted, SanitizedSource
from autocast_core.pipeline.convert import convert_file, convert_in_memory
from autocast_core.pipeline.given_plans.apply_plan import apply_plan_file
from autocast_core.pipeline.job import Job
from autocast_core.pipeline.planned_graph import planned_model
from autocast_core.plan import PrecisionPlan
from autocast_core.simulate import simulate

ATTENTION = """
<ir_version: 8, opset_import: ["" : 17]>
attention (float[1, 4, 64] q, float[1, 64, 4] k, float[1, 4, 64] v) => (float[1, 4, 64] y) <float c = {0.125}> {
    [product] s = MatMul(q, k)
    [scale] t = Mul(s, c)
    [softmax] p = Softmax <axis = -1> (t)
    [mix] y = MatMul(p, v)
}"""
STREAM = """
<ir_version: 8, opset_import: ["" : 17]>
stream (float[2, 6, 4] x) => (float[2, 6, 4] y)
<float[4, 4] w = {WEIGHTS}, float[4, 4] l = {LARGE}, float[4] b = {1, 2, 3, 4}, float[4] g = {1, 1.5, 0.5, 1}> {
    [norm] n = LayerNormalization (x, g)
    [up] u = MatMul(n, w)
    [down] d = MatMul(u, l)
    [bias] f = Add(d, b)
    [sum] s = Add(x, f)
    [last_norm] y = LayerNormalization (s, g)
}"""
WEIGHTS = np.random.default_rng(0).normal(size=16).astype(np.float32)


def numbers(values: np.ndarray) -> str:
    return "{" + ", ".join(f"{value:.6g}" for value in values) + "}"


def attention() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(1, 4, 64)).astype(np.float32) for _ in range(3))
    return onnx.parser.parse_model(ATTENTION), {"q": 10 * q, "k": 10 * k.swapaxes(1, 2), "v": v}


def stream() -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    model = onnx.parser.parse_model(
        STREAM.replace("{WEIGHTS}", numbers(WEIGHTS)).replace("{LARGE}", numbers(2e4 * WEIGHTS[::-1]))
    )
    return model, {"x": np.random.default_rng(2).normal(size=(2, 6, 4)).astype(np.float32)}


def converted(
    model: onnx.ModelProto, data: Mapping[str, np.ndarray], config: ConversionConfig
) -> tuple[PrecisionPlan, float]:
    """The plan, and the signal-to-noise ratio of the simulated model in dB."""
    job = Job(model, config, data)
    made, runtime = convert_in_memory(job), OnnxRuntime()
    original, candidate = runtime.open(job.original()), runtime.open(simulate(made[Converted].model), exact=True)
    found = compare(original, candidate, job.batches(job.original(), data)).worst
    return made[PrecisionPlan], -200.0 if found.new_nonfinite else found.sqnr_db


def test_a_stream_that_overflows_is_lowered_whole_and_right() -> None:
    model, data = stream()
    plan, ratio = converted(model, data, ConversionConfig(data_max=float("inf")))
    assert ratio < 10
    repaired, ratio = converted(model, data, ConversionConfig(repair_ranges=True))
    assert ratio >= 50
    assert [each.step for each in repaired.sanitize] == ["residual_scale"]
    assert {each.id for each in repaired.nodes if each.precision is Precision.FP32} == set()
    kept = {each.id for each in converted(model, data, ConversionConfig())[0].nodes if each.precision == "fp32"}
    assert kept >= {"graph/down", "graph/bias", "graph/sum", "graph/last_norm"}
    assert len(plan.nodes) == 6


def test_the_product_of_attention_is_lowered_behind_its_scale() -> None:
    model, data = attention()
    plan, _ = converted(model, data, ConversionConfig())
    assert {each.id for each in plan.nodes if each.rule == "io_range"} == {"graph/product", "graph/scale"}
    repaired, ratio = converted(model, data, ConversionConfig(repair_ranges=True))
    assert [(each.step, each.nodes) for each in repaired.sanitize] == [("attention_scale", ("product", "scale"))]
    assert not [each.id for each in repaired.nodes if each.rule == "io_range"]
    assert ratio >= 40


@pytest.mark.parametrize("config", [ConversionConfig(), ConversionConfig(precision=Precision.BF16, repair_ranges=True)])
def test_nothing_is_repaired_unless_asked_and_in_bf16(config: ConversionConfig) -> None:
    assert not [each for each in converted(*stream(), config)[0].sanitize if each.step != "opset"]


def test_what_the_rules_are_told_is_what_calibration_would_measure() -> None:
    model, data = stream()
    job = Job(model, ConversionConfig(repair_ranges=True), data)
    made = convert_in_memory(job)
    plan, sanitized = made[PrecisionPlan], made[SanitizedSource].model
    repaired = planned_model(sanitized, plan)
    assert repaired is not sanitized
    measured = calibrate(repaired, job.batches(repaired, data), job.runtime, Precision.FP16).tensors
    scaled = next(each for each in plan.sanitize if each.step == "residual_scale")
    assert scaled.exponent == -int(np.ceil(np.log2(measured["s"].absmax * 2.0**-scaled.exponent / 512)))
    assert 256 < measured["s"].absmax <= 512


@pytest.mark.parametrize("made", [attention, stream])
def test_a_plan_makes_its_repairs_again(
    made: Callable[[], tuple[onnx.ModelProto, dict[str, np.ndarray]]], tmp_path: Path
) -> None:
    model, data = made()
    onnx.save(model, tmp_path / "source.onnx")
    first = convert_file(
        tmp_path / "source.onnx", tmp_path / "first.onnx", ConversionConfig(repair_ranges=True), calibration=data
    )
    plan = PrecisionPlan.from_json(first.plan.to_json())
    apply_plan_file(tmp_path / "source.onnx", tmp_path / "second.onnx", plan)
    assert (tmp_path / "second.onnx").read_bytes() == (tmp_path / "first.onnx").read_bytes()
    apply_plan_file(tmp_path / "first.onnx", tmp_path / "third.onnx", plan)
    assert (tmp_path / "third.onnx").read_bytes() == (tmp_path / "first.onnx").read_bytes()


@pytest.mark.parametrize("wrong", ["nodes", "operands"])
def test_a_plan_that_repairs_what_is_not_there_is_refused(wrong: str, tmp_path: Path) -> None:
    model, data = stream()
    onnx.save(model, tmp_path / "source.onnx")
    plan = convert_file(
        tmp_path / "source.onnx", tmp_path / "first.onnx", ConversionConfig(repair_ranges=True), calibration=data
    ).plan
    (change,) = plan.sanitize
    changed = {"nodes": ("nobody",) * len(change.nodes), "operands": (7,) * len(change.nodes)}[wrong]
    bad = replace(plan, sanitize=(replace(change, **{wrong: changed}),))
    with pytest.raises(PlanError, match="repairs what this model does not have"):
        apply_plan_file(tmp_path / "source.onnx", tmp_path / "second.onnx", bad)
    assert not (tmp_path / "second.onnx").exists()
