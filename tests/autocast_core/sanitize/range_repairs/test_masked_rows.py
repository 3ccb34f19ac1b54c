"""Rows with every key masked: the same bits in FP32, and uniform in FP16 too."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.config import ConversionConfig, Precision
from autocast_core.evaluate import compare
from autocast_core.pipeline.artifacts import Converted
from autocast_core.pipeline.convert import convert_file, convert_in_memory
from autocast_core.pipeline.given_plans.apply_plan import apply_plan_file
from autocast_core.pipeline.job import Job
from autocast_core.sanitize import sanitize
from autocast_core.sanitize.range_repairs.masked_rows import STEP
from autocast_core.simulate import simulate
from tests.onnx_models import operator_types, run_in_onnxruntime

LOWEST = float(np.finfo(np.float32).min)
CONFIG = ConversionConfig(repair_ranges=True)
MASKS = {
    "Where": "z = Where(keep, zero, low) u = Add(s, z)",
    "Where, the other way round": "not = Not(keep) z = Where(not, low, zero) u = Add(z, s)",
    "a product, as BERT": "f = Cast <to = 1> (whole) i = Sub(one, f) z = Mul(i, low) u = Add(s, z)",
    "a filled product": """
        f = Cast <to = 1> (whole) i = Sub(one, f) b = Cast <to = 9> (i) z = Where(b, low, i) u = Add(s, z)""",
    "sliced": "w = Where(keep, zero, low) z = Slice(w, from, to, from) u = Add(s, z)",
    "a product of booleans": "n = Not(keep) f = Cast <to = 1> (n) z = Mul(low, f) u = Add(s, z)",
    "a constant": "u = Add(s, causal)",
}
OTHERS = {
    "what a caller passes": "u = Add(s, m)",
    "a mask that does not swallow scores": "z = Where(keep, zero, small) u = Add(s, z)",
    "another bias": "z = Where(keep, one, low) u = Add(s, z)",
}


def attention(mask: str) -> onnx.ModelProto:
    causal = ", ".join(str(LOWEST if column > row else 0) for row in range(6) for column in range(6))
    return onnx.parser.parse_model(f"""
    <ir_version: 8, opset_import: ["" : 17]>
    core (float[1, 2, 6, 16] q, float[1, 2, 16, 6] k, float[1, 2, 6, 16] v, bool[1, 1, 6, 6] keep,
          int64[1, 1, 6, 6] whole, float[1, 1, 6, 6] m) => (float[1, 2, 6, 16] y)
    <float low = {{{LOWEST}}}, float small = {{-10000}}, float zero = {{0}}, float one = {{1}},
     int64[1] from = {{0}}, int64[1] to = {{6}}, float[1, 1, 6, 6] causal = {{{causal}}}> {{
        s = MatMul(q, k)
        {mask}
        p = Softmax <axis = -1> (u)
        y = MatMul(p, v)
    }}""")


def feeds(seed: int = 0) -> dict[str, np.ndarray]:
    """Scores of about 20, and a mask of which one row has no key."""
    rng = np.random.default_rng(seed)
    keep = rng.random((1, 1, 6, 6)) < 0.6
    keep[..., 2, :] = False
    q, k, v = (rng.normal(size=(1, 2, 6, 16)).astype(np.float32) for _ in range(3))
    return {
        "q": 5 * q,
        "k": k.swapaxes(2, 3),
        "v": v,
        "keep": keep,
        "whole": keep.astype(np.int64),
        "m": np.where(keep, 0, LOWEST).astype(np.float32),
    }


def sanitized(model: onnx.ModelProto, config: ConversionConfig = CONFIG) -> tuple[onnx.ModelProto, bool]:
    result = sanitize(ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model)), config)
    after = ir.serde.serialize_model(result.model)
    onnx.checker.check_model(after, full_check=True)
    return after, any(change.step == STEP for change in result.changes)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_selecting_the_mask_keeps_every_bit_in_fp32(mask: str) -> None:
    model = attention(mask)
    after, acted = sanitized(model, ConversionConfig(repair_ranges=True, clamp_masks=False))
    assert acted and len(after.graph.node) <= len(model.graph.node) + 1
    for seed in range(5):
        (expected,), (found,) = run_in_onnxruntime(model, feeds(seed)), run_in_onnxruntime(after, feeds(seed))
        assert np.array_equal(expected, found)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_with_the_mask_that_fp16_holds_fp32_is_the_same_too(mask: str) -> None:
    after, _ = sanitized(attention(mask))
    (expected,), (found,) = run_in_onnxruntime(attention(mask), feeds()), run_in_onnxruntime(after, feeds())
    assert np.array_equal(expected, found)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masked_rows_are_right_in_fp16(mask: str) -> None:
    assert ratio(attention(mask), CONFIG) >= 40


def test_what_was_wrong_was_the_row_without_a_key() -> None:
    assert ratio(attention(MASKS["Where"]), ConversionConfig()) < 20


def ratio(model: onnx.ModelProto, config: ConversionConfig) -> float:
    """Of the simulated model, in dB."""
    job, runtime = Job(model, config, feeds()), OnnxRuntime()
    candidate = simulate(convert_in_memory(job)[Converted].model)
    batches = job.batches(job.original(), feeds())
    return compare(runtime.open(job.original()), runtime.open(candidate, exact=True), batches).worst.sqnr_db


@pytest.mark.parametrize("mask", OTHERS.values(), ids=OTHERS)
def test_other_sums_are_left_alone(mask: str) -> None:
    after, acted = sanitized(attention(mask))
    assert not acted and operator_types(after) == operator_types(attention(mask))


@pytest.mark.parametrize("config", [ConversionConfig(), ConversionConfig(precision=Precision.BF16, repair_ranges=True)])
def test_nothing_changes_unless_asked_and_in_bf16(config: ConversionConfig) -> None:
    assert not sanitized(attention(MASKS["Where"]), config)[1]


def test_of_two_masks_the_second_is_added_as_before() -> None:
    """Where both mask, FP32 makes -inf, which selecting the second would not."""
    model = attention("z = Where(keep, zero, low) t = Add(s, z) u = Add(t, causal)")
    after, acted = sanitized(model, ConversionConfig(repair_ranges=True, clamp_masks=False))
    assert acted and operator_types(after).count("Add") == 1
    (expected,), (found,) = run_in_onnxruntime(model, feeds()), run_in_onnxruntime(after, feeds())
    assert np.array_equal(expected, found, equal_nan=True)


def test_a_condition_replaces_its_mask_and_a_comparison_serves_all_layers() -> None:
    assert operator_types(sanitized(attention(MASKS["Where"]))[0]) == ["MatMul", "Where", "Softmax", "MatMul"]
    layers = "{y} = Add({x}, z)".format
    twice = f"w = Where(keep, zero, low) z = Slice(w, from, to, from) {layers(y='t', x='s')} r = Softmax(t)"
    model = attention(f"{twice} x = MatMul(r, s) {layers(y='u', x='x')}")
    assert operator_types(sanitized(model)[0]).count("Less") == 1


def test_a_plan_finds_its_graph_again(tmp_path) -> None:
    onnx.save(attention(MASKS["sliced"]), tmp_path / "source.onnx")
    plan = convert_file(tmp_path / "source.onnx", tmp_path / "first.onnx", CONFIG, calibration=feeds()).plan
    for source in ("source.onnx", "first.onnx"):
        apply_plan_file(tmp_path / source, tmp_path / "second.onnx", plan)
        assert (tmp_path / "second.onnx").read_bytes() == (tmp_path / "first.onnx").read_bytes()
