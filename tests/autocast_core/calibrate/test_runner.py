"""Calibration against numpy: every tensor's statistics, in the main graph and in bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir
import pytest

from autocast_core.backends.onnxruntime import OnnxRuntime
from autocast_core.calibrate import Statistics, TensorStats, calibrate
from autocast_core.calibrate.instrument import instrumented, sample_indices, sample_step
from autocast_core.calibrate.tensor_sizes import sizes_of
from autocast_core.config import Precision
from autocast_core.data import input_specs, open_batches
from autocast_core.errors import DataError
from autocast_core.progress import Progress

CPU = OnnxRuntime(threads=1)
FP16, BF16 = Precision.FP16, Precision.BF16


def model_of(text: str, opset: int = 18) -> ir.Model:
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>{text}')
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(proto, data_prop=True))


def run(model: ir.Model, data: Mapping[str, Any], precision: Precision = FP16, **options: Any) -> Statistics:
    return calibrate(model, open_batches(data, input_specs(model)), CPU, precision, **options)


def assert_stats(found: TensorStats, values: Any, precision: Precision = FP16) -> None:
    expected = TensorStats.of(np.asarray(values, np.float32), precision)
    assert (found.count, found.min, found.max) == (expected.count, expected.min, expected.max)
    assert found.nonfinite == expected.nonfinite
    assert (found.nonzero, found.underflow, found.subnormal) == (
        expected.nonzero,
        expected.underflow,
        expected.subnormal,
    )
    assert found.sum_squares == pytest.approx(expected.sum_squares, rel=1e-9)
    assert found.rounding_sum_squares == pytest.approx(expected.rounding_sum_squares, rel=1e-9)


SMALL = "g (float[N, 3] x) => (float[N, 3] y) <float k = {1e-6}> { a = Mul(x, k) y = Relu(a) }"


def test_small_tensors_are_measured_exactly_over_all_batches() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = run(model_of(SMALL), {"x": x})
    a = x * np.float32(1e-6)
    assert list(found.tensors) == ["a", "y", "x"]
    for name, values in {"x": x, "a": a, "y": np.maximum(a, 0)}.items():
        assert_stats(found.tensors[name], values)
    assert (found.batches, found.origin, found.backend) == (4, "calibration", "onnxruntime-cpu")


def test_many_small_tensors_of_one_shape_are_each_measured_exactly() -> None:
    names = [f"t{number}" for number in range(150)]
    steps = "".join(f"{name} = Mul(x, k{name}) " for name in names)
    factors = ", ".join(f"float k{name} = {{{number - 70}}}" for number, name in enumerate(names))
    model = model_of(
        f"g (float[N, 3] x, float[2] z) => (float[N, 3] y) <{factors}> {{ {steps} y = Sum({', '.join(names)}) }}"
    )
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = run(model, {"x": x, "z": np.ones(2, np.float32)})
    for number, name in enumerate(names):
        assert_stats(found.tensors[name], x * np.float32(number - 70))
    assert found.tensors["z"].max == 1.0


def test_reductions_and_stacks_stand_in_reverse_order_of_what_they_wait_for() -> None:
    """ONNX Runtime takes them from the end, so that no large tensor waits for a later one."""
    model = model_of("""g (float[90, 90] x) => (float[90, 90] z) {
        a = ReduceSum(x) b = Neg(a) s = Shape(x) v = Exp(x) c = ReduceMax(v) d = Neg(c) w = Exp(v) z = Exp(w)
    }""")
    sizes = sizes_of(model, {"x": np.zeros((90, 90))})
    with instrumented(model, sizes, FP16, small=False) as probes:
        added = [str(node.inputs[-1].name) for node in model.graph if node.op_type != "ConcatFromSequence"][8:]
    assert added == [*"xxxzzzwww", "d", *"vvv"]
    assert [stack.names for stack in probes.whole] == [tuple("abcd")]


def test_infinity_among_small_tensors_of_one_shape_is_counted_where_it_is() -> None:
    model = model_of("g (float[2, 2] x) => (float[2, 2] c) { a = Exp(x) b = Neg(x) c = Add(a, b) }")
    found = run(model, {"x": np.float32([[1, 2], [3, 1000]])})
    assert [found.tensors[name].nonfinite for name in "xabc"] == [0, 1, 0, 1]
    assert (found.tensors["a"].max, found.tensors["b"].min) == (np.inf, -1000.0)


DECLARED = """<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>
g (float[4, 3] x) => (float[4, 3] y) <float[2, 3] d, float[2, 3] e> {
    d = com.microsoft.Gelu(x) e = Neg(d) y = Neg(x)
}"""


def test_tensors_of_another_shape_than_declared_are_measured_as_they_are() -> None:
    model = ir.serde.deserialize_model(onnx.parser.parse_model(DECLARED))
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    found = run(model, {"x": x})
    assert found.origin == "calibration"
    assert_stats(found.tensors["y"], -x)
    assert (found.tensors["d"].count, found.tensors["d"].min) == (12, -found.tensors["e"].max)


def test_wrongly_declared_tensors_that_are_as_large_together_as_declared_are_told_apart() -> None:
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1]>
        g (float[1, 3] x, float[3, 3] z) => (float[1, 3] y, float[3, 3] w) <float[2, 3] d, float[2, 3] e> {
            d = com.microsoft.Gelu(x) e = com.microsoft.Gelu(z) y = Neg(x) w = Neg(z)
        }""")
    found = run(
        ir.serde.deserialize_model(proto), {"x": np.full((1, 3), 5, np.float32), "z": np.full((3, 3), 9, np.float32)}
    )
    assert (found.tensors["d"].count, found.tensors["e"].count) == (3, 9)
    assert found.tensors["d"].max == pytest.approx(5, abs=0.01)
    assert found.tensors["e"].min == pytest.approx(9, abs=0.01)


def test_the_model_is_left_as_it_was() -> None:
    model = model_of(IF_IN_LOOP)
    before = ir.to_onnx_text(model)
    run(model, LOOP_DATA)
    assert ir.to_onnx_text(model) == before


LARGE = "g (float[N, 100, 100] x) => (float[N, 100, 100] y) <float k = {2}> { a = Mul(x, k) y = Sqrt(a) }"


def test_large_tensors_have_exact_ranges_and_sampled_small_values() -> None:
    x = np.random.default_rng(0).random((2, 100, 100), np.float32) * np.float32(1e-6)
    stats = run(model_of(LARGE), {"x": x}).tensors["a"]
    a = 2 * x
    assert (stats.count, stats.min, stats.max, stats.examined) == (
        20_000,
        a.min(),
        a.max(),
        2 * len(range(0, 10_000, sample_step(10_000))),
    )
    assert stats.rounding_error == pytest.approx(TensorStats.of(a, FP16).rounding_error, rel=0.05)
    assert stats.underflow_share == pytest.approx(TensorStats.of(a, FP16).underflow_share, abs=0.01)


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_a_sample_sees_a_channel_that_underflows(share: float) -> None:
    x = np.ones((1, 100, 200), np.float32)
    x[..., : int(200 * share)] = 1e-9
    model = model_of("g (float[N, 100, 200] x) => (float[N, 100, 200] y) { y = Identity(x) }")
    assert run(model, {"x": x}).tensors["y"].underflow_share == pytest.approx(share, abs=0.004)


def test_rearranged_tensors_have_the_statistics_of_what_they_rearrange() -> None:
    model = model_of("""
    g (float[N, 100, 100] x) => (float[N, 100, 100] y) <float[3, 2] w = {0, 1, 2, 3, 4, 5}, int64[2] flat = {-1, 100}> {
        a = Exp(x) r = Reshape(a, flat) t = Transpose<perm = [1, 0]>(r) u = Identity(x) v = Transpose<perm = [1, 0]>(w)
        y = Relu(u)
    }""")
    x = np.random.default_rng(0).standard_normal((2, 100, 100)).astype(np.float32)
    found = run(model, {"x": x}).tensors
    assert found["t"] == found["r"] == found["a"]
    assert found["u"] == found["x"]
    assert (found["x"].count, found["x"].min, found["x"].max) == (x.size, x.min(), x.max())
    assert_stats(found["v"], np.tile(np.arange(6), 2))


@pytest.mark.parametrize("dtype", ["float16", "double"])
@pytest.mark.parametrize("columns", [3, 5000])
def test_inputs_of_other_float_types_are_measured_too(dtype: str, columns: int) -> None:
    model = model_of(f"g ({dtype}[N, {columns}] x) => (float[N, {columns}] y) {{ y = Cast<to = 1>(x) }}")
    x = np.random.default_rng(0).standard_normal((2, columns)).astype(dtype)
    found = run(model, {"x": x}).tensors["x"]
    assert (found.count, found.nonfinite) == (x.size, 0)
    assert (found.min, found.max) == pytest.approx((x.min(), x.max()), rel=1e-6)


def test_nan_and_infinity_in_an_input_are_counted_exactly() -> None:
    model = model_of("g (float[N, 100, 100] x) => (float[N, 100, 100] y) { y = Identity(x) }")
    x = np.ones((2, 100, 100), np.float32)
    x[1, 0, :3], x[1, 0, 3] = np.nan, -np.inf
    found = run(model, {"x": x}).tensors
    assert found["y"] == found["x"]
    assert (found["x"].count, found["x"].nonfinite, found["x"].min, found["x"].max) == (20_000, 4, -np.inf, 1.0)


def test_sampled_indices_cover_a_small_tensor_and_spread_over_a_large_one() -> None:
    assert set(sample_indices(1000)) == set(range(1000))
    indices = sample_indices(10**9)
    assert len(set(indices)) == 4096
    assert indices.max() < 10**9
    assert all(len(set(indices % channels)) == channels for channels in (3, 64, 96, 256))


@pytest.mark.parametrize(
    "dims", [(4097,), (12, 197, 197), (128, 768), (64, 112, 112), (1, 50257), (2, 3, 5, 7, 11, 13)]
)
def test_a_sample_meets_every_index_of_every_dimension_equally_often(dims: tuple[int, ...]) -> None:
    count = int(np.prod(dims))
    sampled = np.unravel_index(np.arange(0, count, sample_step(count)), dims)
    assert 1400 <= len(sampled[0]) <= 4096
    for indices, length in zip(sampled, dims, strict=True):
        met = np.bincount(indices, minlength=length)
        assert met.max() - met.min() <= 1 + met.mean() / 4


@pytest.mark.parametrize("batch_size", [3, 2, 4])
def test_batches_of_several_shapes_are_all_measured(batch_size: int) -> None:
    model = model_of("agraph (float[N, 5000] x) => (float[N, 5000] y) { y = Neg(x) }")
    x = np.random.default_rng(0).normal(size=(4, 5000)).astype(np.float32)
    x[3, 4999] = 77.0

    batches = open_batches({"x": x}, input_specs(model), batch_size=batch_size)
    found = calibrate(model, batches, CPU, FP16)

    assert found.origin == "calibration"
    assert (found.tensors["y"].count, found.tensors["y"].min) == (20_000, -77.0)
    sizes = {3: [15_000], 2: [10_000, 10_000], 4: [20_000]}[batch_size]  # the rest of a 3 is of unknown size: drawn
    drawn = 4096 if batch_size == 3 else 0
    assert found.tensors["y"].examined == drawn + sum(len(range(0, count, sample_step(count))) for count in sizes)


def test_sizes_that_only_the_run_knows_are_counted() -> None:
    model = model_of("g (float[N] x) => (float[M, K] y) { i = NonZero(x) y = Cast<to = 1>(i) z = Neg(y) }")
    x = np.zeros((2, 6000), np.float32)
    x[0, :10] = x[1, :5000] = 1
    model.graph.inputs[0].shape = ir.Shape([6000])
    found = calibrate(model, open_batches({"x": x.reshape(-1)}, input_specs(model)), CPU, FP16).tensors["z"]
    assert (found.count, found.min, found.max) == (5010, -4999.0, 0.0)
    assert found.nonzero == pytest.approx(found.examined, abs=3)


@pytest.mark.parametrize("size", [10, 100])
def test_nan_and_infinity_are_counted_exactly(size: int) -> None:
    model = model_of(f"g (float[N, {size}, {size}] x) => (float[N, {size}, {size}] y) {{ y = Neg(x) }}")
    x = np.ones((3, size, size), np.float32)
    x[0, 3, 4], x[1, 0, 0], x[1, 1, 1], x[2] = np.nan, np.nan, -np.inf, 2
    stats = run(model, {"x": x}).tensors["y"]
    assert (stats.count, stats.nonfinite, stats.min, stats.max) == (x.size, 3, -2.0, np.inf)


def test_bf16_needs_ranges_only() -> None:
    stats = run(model_of(LARGE), {"x": np.ones((1, 100, 100), np.float32)}, BF16).tensors["a"]
    assert stats == TensorStats(count=10_000, min=2.0, max=2.0)
    without = run(model_of(SMALL), {"x": np.ones((1, 3), np.float32)}, FP16, small_values=False)
    assert without.tensors["x"] == TensorStats(count=3, min=1.0, max=1.0)


IF_IN_LOOP = """
g (float[2] x, int64 n, bool c) => (float[2] last, float[K, 2] seen) <float two = {2}> {
    last, seen = Loop(n, , x) <body = b (int64 i, bool go, float[2] state) => (bool on, float[2] next, float[2] each) {
        on = Identity(go)
        doubled = Mul(state, two)
        next = If(c) <then_branch = yes () => (float[2] grown) { grown = Add(doubled, x) },
                      else_branch = no () => (float[2] kept) { minus = Neg(doubled) kept = Identity(minus) }>
        each = Identity(next)
    }>
}
"""
LOOP_DATA = {"x": np.array([1.0, -3e-8], np.float32), "n": np.array(3), "c": np.array(True)}


def test_bodies_are_seen_in_every_iteration() -> None:
    found = run(model_of(IF_IN_LOOP), LOOP_DATA).tensors
    x = LOOP_DATA["x"]
    states = [x]
    for _ in range(3):
        states.append(2 * states[-1] + x)
    assert_stats(found["state"], states[:3])
    assert_stats(found["doubled"], [2 * state for state in states[:3]])
    assert_stats(found["grown"], states[1:])
    assert_stats(found["each"], states[1:])
    assert_stats(found["last"], states[3])
    assert_stats(found["minus"], [])


def test_a_branch_not_taken_and_a_loop_that_never_runs_are_empty() -> None:
    found = run(model_of(IF_IN_LOOP), {**LOOP_DATA, "n": np.array(0)}).tensors
    assert {found[name].count for name in ("state", "doubled", "next", "grown", "kept", "each")} == {0}
    found = run(model_of(IF_IN_LOOP), {**LOOP_DATA, "c": np.array(False)}).tensors
    assert (found["grown"].count, found["kept"].count) == (0, 6)


def test_scan_and_its_axes_attribute() -> None:
    model = model_of("""
    g (float[4, 2] x, float[2] start) => (float[2] final, float[2, 4] sums) {
        final, sums = Scan(start, x) <num_scan_inputs = 1, scan_output_axes = [1],
            body = body (float[2] state, float[2] row) => (float[2] next, float[2] out)
            { next = Add(state, row) out = Identity(next) }>
    }""")
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = run(model, {"x": x, "start": np.zeros(2, np.float32)}).tensors
    assert_stats(found["row"], x)
    assert_stats(found["next"], np.cumsum(x, axis=0))
    assert_stats(found["sums"], np.cumsum(x, axis=0))


@pytest.mark.parametrize("opset", [13, 18])
def test_a_scan_in_the_body_of_a_scan(opset: int) -> None:
    text = """
    g (float[2, 3, 4] x, float[2, 4] start) => (float[2, 4] final, float[2, 3, 4] sums) {
        final, sums = Scan(start, x) <num_scan_inputs = 2,
            body = batch (float[4] first, float[3, 4] rows) => (float[4] last, float[3, 4] each) {
                last, each = Scan(first, rows) <num_scan_inputs = 1,
                    body = body (float[4] state, float[4] row) => (float[4] next, float[4] out)
                    { next = Add(state, row) out = Identity(next) }>
            }>
    }"""
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    found = run(model_of(text, opset), {"x": x, "start": np.zeros((2, 4), np.float32)}).tensors
    assert_stats(found["row"], x)
    assert_stats(found["next"], np.cumsum(x, axis=1))
    assert_stats(found["each"], np.cumsum(x, axis=1))


def test_sequence_map_bodies() -> None:
    model = model_of("""
    g (float[2] x, float[2] z) => (seq(float[2]) out) {
        pair = SequenceConstruct(x, z)
        out = SequenceMap(pair) <body = body (float[2] item) => (float[2] twice) { twice = Add(item, item) }>
    }""")
    x, z = np.array([1, 2], np.float32), np.array([-5, 0], np.float32)
    found = run(model, {"x": x, "z": z}).tensors
    assert_stats(found["twice"], [2 * x, 2 * z])


def test_shards_add_up_to_the_whole() -> None:
    x = np.random.default_rng(0).standard_normal((6, 100, 100)).astype(np.float32)
    model = model_of(LARGE.replace("Sqrt", "Exp"))
    whole = run(model, {"x": x})
    parts = [run(model, {"x": shard}) for shard in (x[4:], x[:1], x[1:4])]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    assert merged.batches == whole.batches == 6
    for name, stats in whole.tensors.items():
        other = merged.tensors[name]
        assert (stats.count, stats.min, stats.max, stats.underflow) == (
            other.count,
            other.min,
            other.max,
            other.underflow,
        )
        assert other.sum_squares == pytest.approx(stats.sum_squares, rel=1e-12)


def test_integers_are_not_measured() -> None:
    model = model_of("g (int64[2] i) => (int64[2] y) { y = Add(i, i) }")
    assert run(model, {"i": np.array([1, 2])}).tensors == {}


def test_a_model_that_cannot_run_is_skipped_with_the_reason() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18, "my.domain" : 1]>'
        "g (float[2] x) => (float[2] y) { y = my.domain.Thing(x) }"
    )
    found = run(model, {"x": np.zeros(2, np.float32)})
    assert (found.origin, dict(found.tensors)) == ("none", {})
    assert "my.domain" in str(found.skipped)


def test_progress_counts_batches() -> None:
    seen: list[Progress] = []
    run(model_of(SMALL), {"x": np.zeros((2, 3), np.float32)}, progress=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [("calibrate", 0, 2), ("calibrate", 1, 2), ("calibrate", 2, 2)]


def test_a_batch_too_large_for_the_memory_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(LARGE)
    batches = open_batches({"x": np.ones((1, 100, 100), np.float32)}, input_specs(model))
    monkeypatch.setattr("autocast_core.calibrate.runner.available_bytes", lambda: 1000)
    with pytest.raises(DataError, match=r"one inference .* takes at least 0.0 GiB"):
        calibrate(model, batches, CPU, FP16)


def test_a_provider_that_is_not_there_is_a_warning_and_the_processor_calibrates(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = model_of(SMALL)
    batches = open_batches({"x": np.zeros((1, 3), np.float32)}, input_specs(model))
    assert calibrate(model, batches, OnnxRuntime(("trt",)), FP16).skipped is None
    assert "TensorrtExecutionProvider" in caplog.text


def test_infinity_behind_captures_and_bodies_is_counted_exactly() -> None:
    model = model_of("""
    g (float[N, 100, 100] x, bool c) => (float[N, 100, 100] y) <float[5000] unused, float k = {2}> {
        a = Mul(x, k)
        b = If(c) <then_branch = yes () => (float[N, 100, 100] d) { d = Log(a) },
                   else_branch = no () => (float[N, 100, 100] e) { e = Identity(x) }>
        y = Add(b, x)
    }""")
    x = np.ones((2, 100, 100), np.float32)
    x[1, 0, :7] = 0
    found = run(model, {"x": x, "c": np.array(True)}).tensors
    assert (found["b"].nonfinite, found["y"].nonfinite, found["d"].nonfinite) == (7, 7, 7)
    assert (found["y"].count, found["y"].min, found["y"].max) == (20_000, -np.inf, np.float32(np.log(2)) + 1)


def test_extremes_are_known_batch_by_batch_of_every_kind_of_tensor():
    """Whole, sampled, and in a body."""
    model = model_of("""g (float[N, 8192] x, bool c) => (float[N, 8192] y) {
      small = ReduceMax(x) a = Mul(x, small)
      y = If(c) <then_branch = t () => (float[N, 8192] b) { b = Neg(a) }, else_branch = e () => (float[N, 8192] d) {
        d = Identity(a) }> }""")
    x = np.stack([np.full(8192, top, np.float32) for top in (1.0, 2.0, 3.0, 4.0)])
    found = run(model, {"x": x, "c": np.array(True)}).tensors
    for name, extremes in (("x", [1, 2, 3, 4]), ("small", [1, 2, 3, 4]), ("a", [1, 4, 9, 16]), ("b", [1, 4, 9, 16])):
        assert found[name].batches == 4
        assert found[name].extreme_sum == sum(extremes)
        assert found[name].extreme_squares == sum(each**2 for each in extremes)
