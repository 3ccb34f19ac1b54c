"""Scanning weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from autocast_core.calibrate import TensorStats, WeightScan, scan_weights, weights
from autocast_core.config import Precision
from autocast_core.graph.annotations import content_digest
from autocast_core.model import ConvertedTensor, weights_digest
from autocast_core.model.tensors import CHUNK_ELEMENTS
from autocast_core.progress import Progress

SEVERAL_CHUNKS = 2 * CHUNK_ELEMENTS + 17


def model_with(array: np.ndarray, constants: str = "") -> ir.Model:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["":18]> g (float[1] x) => (float[1] y) {' + constants + " y = Identity(x) }"
    )
    model.graph.register_initializer(ir.Value(name="w", const_value=ir.tensor(array, name="w")))
    return model


@pytest.mark.parametrize("scale", [1.0, 0.02, 1e-5, 1e-8, 0.0, 1e5])
def test_counts_are_exact_in_chunks_too(scale: float) -> None:
    values = (np.random.default_rng(0).standard_normal(SEVERAL_CHUNKS) * scale).astype(np.float32)
    found = scan_weights(model_with(values), Precision.FP16)["w"]
    expected = TensorStats.of(values, Precision.FP16)
    for name in ("count", "min", "max", "nonfinite", "nonzero", "underflow", "subnormal", "examined"):
        assert getattr(found, name) == getattr(expected, name), name


def test_the_rounding_error_is_measured_where_it_could_matter_and_bounded_elsewhere() -> None:
    normal = np.random.default_rng(0).standard_normal(SEVERAL_CHUNKS).astype(np.float32)
    tiny = normal * np.float32(1e-7)
    for values in (tiny, normal):
        found = scan_weights(model_with(values), Precision.FP16)["w"]
        exact = TensorStats.of(values, Precision.FP16).rounding_error
        assert (
            found.rounding_error == pytest.approx(exact, rel=1e-6)
            if values is tiny
            else found.rounding_error < 2.0**-10
        )
        assert found.rounding_error >= exact * (1 - 1e-6)


def test_infinity_and_nan_are_counted() -> None:
    found = scan_weights(model_with(np.array([np.nan, -np.inf, 3.0], np.float32)), Precision.FP16)["w"]
    assert (found.nonfinite, found.min, found.max) == (2, -np.inf, 3.0)


def test_bf16_needs_ranges_only() -> None:
    found = scan_weights(model_with(np.array([1.0, -2.0], np.float32)), Precision.BF16)["w"]
    assert found == TensorStats(count=2, min=-2.0, max=1.0)


def test_constants_count_in_bodies_too_and_integers_do_not() -> None:
    nodes = """
    a = Constant<value = float[2] {1, 7}>()
    b = Constant<value_float = 3.0>()
    i = Constant<value_int = 9>()
    c = Constant<value = bool {1}>()
    d = If(c) <then_branch = t () => (float[1] e) { e = Constant<value_floats = [-4.0]>() },
               else_branch = u () => (float[1] f) { f = Identity(x) }>
    """
    found = scan_weights(model_with(np.zeros(2, np.int64), nodes), Precision.FP16)
    assert {name: stats.absmax for name, stats in found.items()} == {"a": 7.0, "b": 3.0, "e": 4.0}


def test_progress_ends_at_all_bytes() -> None:
    seen: list[Progress] = []
    scan_weights(model_with(np.ones(100, np.float32)), Precision.FP16, seen.append)
    assert (seen[-1].done, seen[-1].total, seen[-1].unit) == (400, 400, "bytes")


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_what_a_scan_notes_is_the_digest_of_the_weights(dtype: str) -> None:
    values = np.random.default_rng(0).standard_normal(SEVERAL_CHUNKS).astype(dtype)

    def model() -> ir.Model:
        made = model_with(values)
        if dtype == "float64":
            weight = made.graph.initializers["w"]
            weight.const_value = ConvertedTensor(weight.const_value, ir.DataType.FLOAT, name="w")
        return made

    scanned = model()
    scan_weights(scanned, Precision.FP16)
    assert content_digest(scanned.graph.initializers["w"].const_value) is not None
    assert weights_digest(scanned) == weights_digest(model())


def test_a_scan_on_the_way_reads_large_weights_in_the_order_of_use_and_none_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = {name: np.random.default_rng(n).standard_normal(5000).astype(np.float32) for n, name in enumerate("abc")}
    text = """<ir_version: 10, opset_import: ["":18]>
    g (float[5000] x) => (float[5000] y) <float[5000] a, float[5000] b, float[5000] c> {
        p = Mul(x, c) y = Add(p, a)
    }"""
    proto = onnx.parser.parse_model(text)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in arrays.items())
    model = ir.serde.deserialize_model(proto)
    scan = WeightScan(model, Precision.FP16)
    assert scan.done == 0.0
    scan.advance()
    assert ([tensor.name for tensor in scan.scanned], scan.done) == (["c"], 0.5)
    scan.advance()
    assert scan.done == 1.0
    expected = scan_weights(model, Precision.FP16)
    read: list[str | None] = []
    monkeypatch.setattr(weights, "chunks", lambda tensor: read.append(tensor.name) or [arrays[tensor.name]])
    assert scan_weights(model, Precision.FP16, scanned=scan.scanned) == expected
    assert read == ["b"]
